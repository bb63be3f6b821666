package meshloom.foreign.interpreter;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Set;
import meshloom.foreign.Reason;
import meshloom.foreign.work.Call;
import meshloom.foreign.work.Failure;
import meshloom.foreign.work.Handler;
import meshloom.foreign.work.Output;
import meshloom.v1.Node.HandlerRole;

/** Does what each event says: the commands of level core, for a map, a filter or a flat map. */
final class Commands implements Handler.Body {
    /** The commands that give an output other than the event itself. */
    private static final Set<String> WITH_OUTPUT = Set.of("emit", "copy", "context", "report");

    private final HandlerRole role;
    private final Config config;
    private final Report report;

    Commands(HandlerRole role, Config config, Report report) {
        this.role = role;
        this.config = config;
        this.report = report;
    }

    @Override
    public void handle(Call call) throws Exception {
        report.callBegins();
        try {
            obey(call);
        } finally {
            report.callEnds();
        }
    }

    private void obey(Call call) throws Exception {
        Arguments command = new Arguments(command(call), "");
        String name = command.text("do");
        if (role == HandlerRole.HANDLER_ROLE_FILTER && WITH_OUTPUT.contains(name)) {
            // W6: a filter passes the event unchanged or consumes it.
            throw Failure.reject(Reason.UNWRITABLE, "a filter gives no output of its own");
        }
        switch (name) {
            case "pass" -> call.emit(Output.UNCHANGED);
            case "drop" -> { } // no output: the input is consumed
            case "emit" -> emit(call, command.array("outputs"));
            case "copy" -> call.emit(EventJson.copy(call.event()));
            case "context" -> call.emit(OutputReader.ofJson(EventJson.context(call, config.label())));
            case "reject" -> throw Failure.reject(
                    command.textOr("reason", Reason.REJECTED), command.textOr("message", "the event asked to be rejected"));
            case "retry" -> retry(call, command);
            case "throw" -> throwError(call, command);
            case "sleep" -> sleep(call, command.number("ms"));
            case "block" -> {
                Thread.sleep(command.number("ms"));
                call.emit(Output.UNCHANGED);
            }
            case "note" -> {
                report.note(call.event(), command.any("n"));
                call.emit(Output.UNCHANGED);
            }
            case "report" -> call.emit(OutputReader.ofJson(report.take()));
            default -> throw Arguments.mismatch("do", "is `" + name + "`, which is no command of level core");
        }
    }

    private ObjectNode command(Call call) throws Failure {
        if (config.command() != null) {
            return config.command();
        }
        return Json.parseObject(call.event().payload()).orElseThrow(
                () -> Failure.reject(Reason.PAYLOAD_MISMATCH, "the payload is no JSON object in UTF-8"));
    }

    private void emit(Call call, ArrayNode outputs) throws Failure, InterruptedException {
        if (role != HandlerRole.HANDLER_ROLE_FLAT_MAP && outputs.size() != 1) {
            throw Arguments.mismatch("outputs", "must have one element; only a flat map takes another number");
        }
        for (int i = 0; i < outputs.size(); i++) {
            call.emit(OutputReader.read(outputs.get(i), "outputs[" + i + "]"));
        }
    }

    private static void retry(Call call, Arguments command) throws Failure, InterruptedException {
        if (isBelow(command, call)) {
            throw Failure.retry(command.textOr("reason", Reason.RETRY),
                    command.textOr("message", "the event asked for a retry"), command.numberOrNull("after_ms"));
        }
        call.emit(Output.UNCHANGED);
    }

    private static void throwError(Call call, Arguments command) throws Failure, InterruptedException {
        String message = command.text("message");
        if (isBelow(command, call)) {
            throw new IllegalStateException(message);
        }
        call.emit(Output.UNCHANGED);
    }

    /** Whether the attempt is below `until`; it always is where that is absent. */
    private static boolean isBelow(Arguments command, Call call) throws Failure {
        Long until = command.numberOrNull("until");
        return until == null || call.event().attempt() < until;
    }

    private void sleep(Call call, long millis) throws Failure, InterruptedException {
        if (call.awaitCancelled(millis)) {
            report.cancelled(call.event());
            return;
        }
        call.emit(Output.UNCHANGED);
    }
}
