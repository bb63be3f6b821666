package meshloom.foreign;

import static java.nio.charset.StandardCharsets.UTF_8;
import static meshloom.foreign.batch.Columns.batch;
import static meshloom.foreign.batch.Columns.strings;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.util.Durations;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import meshloom.foreign.interpreter.Interpreter;
import meshloom.foreign.work.Handler;
import meshloom.foreign.work.Opening;
import meshloom.v1.Process.EventFailure;
import meshloom.v1.Process.FailureAction;
import meshloom.v1.Process.OpenProcess;
import meshloom.v1.Process.Ordering;
import meshloom.v1.Process.ProcessRequest;
import meshloom.v1.Process.ProcessResponse;
import meshloom.v1.Process.Work;
import meshloom.v1.Process.WorkResult;
import meshloom.v1.Session.ProtocolRange;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Drives the service over an in-process channel, as a coordinator would. */
class ProcessTest {
    private static final String PASS = "{\"do\": \"pass\"}";
    private static final String FOREVER = "{\"do\": \"sleep\", \"ms\": 86400000}";
    /** For a node that has stopped, not for one that is slow. */
    static final long PATIENCE_SECONDS = 60;

    private final ExecutorService calls = Executors.newCachedThreadPool();
    private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
    private final Drain drain = new Drain();
    private Server server;
    private ManagedChannel channel;

    @BeforeEach
    void start() throws Exception {
        Map<String, Handler> handlers = new Interpreter().handlers();
        String name = InProcessServerBuilder.generateName();
        server = InProcessServerBuilder.forName(name)
                .addService(new NodeService(handlers, new Opening(handlers, calls), drain, timer))
                .build()
                .start();
        channel = InProcessChannelBuilder.forName(name).build();
    }

    @AfterEach
    void stop() throws InterruptedException {
        channel.shutdownNow();
        server.shutdownNow().awaitTermination();
        timer.shutdownNow();
        calls.shutdownNow();
    }

    @Test
    void everyInputOfAWorkIsClosedByWhatItSays() throws Exception {
        Coordinator coordinator = opened("flat_map");

        List<WorkResult> results = coordinator.work(1, batch(
                PASS,
                "{\"do\": \"drop\"}",
                "{\"do\": \"emit\", \"outputs\": [{\"value\": 1}, {\"text\": \"two\"}]}",
                "{\"do\": \"reject\", \"reason\": \"BAD\", \"message\": \"no\"}",
                "{\"do\": \"throw\", \"message\": \"oh\"}",
                "no command"));

        WorkResult last = results.get(results.size() - 1);
        assertTrue(last.getLast());
        assertEquals(1, last.getConsumed());
        assertTrue(last.hasBusy());
        assertEquals(List.of(0, 2, 2), parents(results).stream().sorted().toList(), "in any order over results");
        Map<Integer, EventFailure> failures = failures(results);
        assertEquals(List.of("BAD", FailureAction.FAILURE_ACTION_REJECT, "no"), List.of(
                failures.get(3).getReason(), failures.get(3).getAction(), failures.get(3).getMessage()));
        assertEquals(List.of("HANDLER_ERROR", FailureAction.FAILURE_ACTION_RETRY), List.of(
                failures.get(4).getReason(), failures.get(4).getAction()));
        assertEquals("PAYLOAD_MISMATCH", failures.get(5).getReason());
        assertEquals(3, failures.size());
    }

    @Test
    void outputsSayWhatTheyChange() throws Exception {
        List<WorkResult> results = opened("map").work(1, batch("{\"do\": \"emit\", \"outputs\": [{\"base64\": \"AAE=\", "
                + "\"subject\": \"\", \"route\": \"left\", \"time\": null, \"extensions\": {\"gone\": null}}]}"));

        meshloom.v1.Process.Outputs outputs = results.get(0).getOutputs();
        assertEquals(ByteString.copyFrom(new byte[] {0, 1}), outputs.getPayload().getData());
        assertEquals("application/octet-stream", outputs.getContentType().getValues().getData().toStringUtf8());
        assertEquals(1, outputs.getSubject().getValues().getEnds().size() / Integer.BYTES);
        assertEquals("left", outputs.getRoute().getValues().getData().toStringUtf8());
        assertEquals(8, outputs.getTime().size());
        assertFalse(outputs.hasType());
        assertEquals("gone", outputs.getExtensions(0).getName());
        assertFalse(outputs.getExtensions(0).hasValues());
    }

    @Test
    void anOutputThatTheProtocolCannotCarryIsRejected() throws Exception {
        List<WorkResult> results = opened("map").work(1, batch(
                emit("\"route\": \"up\""),
                emit("\"key\": \"" + "k".repeat(1025) + "\""),
                emit("\"text\": \"\\ud800\""),
                emit("\"extensions\": {\"Big\": null}")));

        Map<Integer, EventFailure> failures = failures(results);
        assertEquals(List.of("ROUTE_UNDECLARED", "ATTRIBUTE_TOO_LARGE", "OUTPUT_INVALID", "OUTPUT_INVALID"),
                List.of(0, 1, 2, 3).stream().map(input -> failures.get(input).getReason()).toList());
    }

    @Test
    void manyOutputsOfOneInputGoOnOverResults() throws Exception {
        String text = "x".repeat(400_000);
        List<WorkResult> results = opened("flat_map").work(1, batch("{\"do\": \"emit\", \"outputs\": ["
                + String.join(",", Collections.nCopies(7, "{\"text\": \"" + text + "\"}")) + "]}"));

        assertEquals(Collections.nCopies(7, 0), parents(results));
        List<Boolean> continued = results.stream().filter(WorkResult::hasOutputs)
                .map(result -> result.getOutputs().getContinued()).toList();
        assertEquals(List.of(true, true, false), continued);
    }

    @Test
    void aMalformedWorkAndOneBeyondTheLimitsAreAnsweredAndTheStreamGoesOn() throws Exception {
        Coordinator coordinator = opened("narrow");

        assertEquals("BATCH_MALFORMED", whole(coordinator.work(1, batch(PASS).clearUid())));
        assertEquals("BATCH_TOO_LARGE", whole(coordinator.work(2, batch(Collections.nCopies(9, PASS).toArray(new String[0])))));
        coordinator.send(3, batch(FOREVER));
        coordinator.send(4, batch(FOREVER));
        assertEquals("LIMITS_EXCEEDED", whole(coordinator.work(5, batch(PASS))));
        coordinator.cancel(3);
        assertEquals("CANCELLED", failures(coordinator.results(3)).get(0).getReason());
        assertEquals(List.of(0), parents(coordinator.work(6, batch(PASS))));
        coordinator.cancel(99);
        coordinator.cancel(4);
        coordinator.requests.onCompleted();
        assertEquals(Status.Code.OK, coordinator.ended().getCode());
    }

    @Test
    void aCallBeyondItsTimeIsAnsweredAndTheStreamGoesOn() throws Exception {
        Coordinator coordinator = opened("map");
        coordinator.requests.onNext(ProcessRequest.newBuilder()
                .setWork(Work.newBuilder()
                        .setSequence(1)
                        .setTimeout(Durations.fromSeconds(1))
                        .setBatch(batch(FOREVER)))
                .build());

        assertEquals("TIMEOUT", failures(coordinator.results(1)).get(0).getReason());
        assertEquals(List.of(0), parents(coordinator.work(2, batch(PASS))));
    }

    @Test
    void whileAWorkIsInHandItsCallsAreTold() throws Exception {
        Coordinator coordinator = opened("map");
        coordinator.send(8, batch(FOREVER));

        ProcessResponse progress = coordinator.next(response -> response.hasProgress()
                && response.getProgress().getCallsCount() == 1);

        assertEquals(8, progress.getProgress().getCalls(0).getSequence());
        assertEquals(0, progress.getProgress().getCalls(0).getIndex());
        coordinator.cancel(8);
        coordinator.results(8);
    }

    @Test
    void behindARetryTheKeyIsHeld() throws Exception {
        Coordinator coordinator = open(validOpen("map").setOrdering(Ordering.ORDERING_KEY));
        coordinator.next(ProcessResponse::hasOpened);

        List<WorkResult> results = coordinator.work(1,
                batch("{\"do\": \"retry\"}", "{\"do\": \"note\", \"n\": 1}", PASS, "{\"do\": \"reject\"}", PASS)
                        .setKey(strings("a", "a", "b", "c", "c")));

        Map<Integer, EventFailure> failures = failures(results);
        assertEquals("RETRY", failures.get(0).getReason());
        assertEquals("KEY_HELD", failures.get(1).getReason());
        assertEquals("REJECTED", failures.get(3).getReason());
        assertEquals(List.of(2, 4), parents(results).stream().sorted().toList());
        List<WorkResult> report = coordinator.work(2, batch("{\"do\": \"report\"}"));
        assertTrue(report.get(0).getOutputs().getPayload().getData().toStringUtf8().contains("\"notes\":[]"));
    }

    @Test
    void requestsThatAreOutOfOrderEndTheStream() throws Exception {
        Coordinator early = new Coordinator(channel);
        early.cancel(1);
        assertEquals("PROTOCOL_VIOLATION", info(early.ended()).getReason());

        Coordinator twice = opened("map");
        twice.requests.onNext(ProcessRequest.newBuilder().setOpen(validOpen("map")).build());
        assertEquals("PROTOCOL_VIOLATION", info(twice.ended()).getReason());

        Coordinator again = opened("map");
        again.send(1, batch(FOREVER));
        again.send(1, batch(FOREVER));
        assertEquals("PROTOCOL_VIOLATION", info(again.ended()).getReason());
    }

    @Test
    void anOpenThatIsNotValidIsRefused() throws Exception {
        Status newer = open(validOpen("map").setProtocol(ProtocolRange.newBuilder().setMin(2).setMax(3))).ended();
        assertEquals(Status.Code.FAILED_PRECONDITION, newer.getCode());
        assertEquals(Map.of("upgrade", "node", "to", "2"), info(newer).getMetadataMap());
        assertEquals("meshloom", info(newer).getDomain());

        Status noRange = open(validOpen("map").clearProtocol()).ended();
        assertEquals(List.of("protocol"), violations(noRange));

        Status unknown = open(validOpen("nobody")).ended();
        assertEquals(Status.Code.NOT_FOUND, unknown.getCode());
        assertEquals("HANDLER_UNKNOWN", info(unknown).getReason());
        assertTrue(unknown.getDescription().contains("map, filter, flat_map, narrow"), unknown.getDescription());
    }

    @Test
    void aConfigIsRefusedFieldByField() throws Exception {
        assertEquals(List.of("label", "other", "command"),
                violations(withConfig("{\"label\": 1, \"other\": 1, \"command\": []}").ended()));
        assertEquals(List.of(""), violations(withConfig("[]").ended()));
        assertEquals(1, violations(withConfig("{\"" + "x".repeat(20_000) + "\": 1}").ended()).size());
        assertEquals(List.of("setup"), violations(withConfig("{\"setup\": \"refuse\"}").ended()));
    }

    @Test
    void aSetUpThatFailedIsMadeAgain() throws Exception {
        String config = "{\"setup\": \"fail_once\"}";

        Status failed = withConfig(config).ended();

        assertEquals(Status.Code.UNAVAILABLE, failed.getCode());
        assertEquals("SETUP_FAILED", info(failed).getReason());
        assertNotNull(withConfig(config).next(ProcessResponse::hasOpened));
    }

    @Test
    void aDrainAnswersWhatIsInHandAndTakesNothingNew() throws Exception {
        Coordinator idle = opened("map");
        Coordinator busy = opened("map");
        busy.send(1, batch(FOREVER));
        // Once the second has been answered the first is in hand.
        busy.work(2, batch(PASS));
        CompletableFuture<Void> drained = CompletableFuture.runAsync(() -> {
            try {
                drain.drain();
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        });

        assertEquals(Status.Code.OK, idle.ended().getCode());
        assertEquals(Status.Code.UNAVAILABLE, open(validOpen("map")).ended().getCode());
        // Until the drain has come to this stream its works are handled.
        long sequence = 3;
        List<WorkResult> answer;
        do {
            answer = busy.work(sequence++, batch(PASS));
        } while (answer.get(0).getFailuresCount() == 0);
        assertEquals("CANCELLED", whole(answer));
        assertFalse(drained.isDone());
        busy.cancel(1);
        assertEquals("CANCELLED", failures(busy.results(1)).get(0).getReason());
        assertEquals(Status.Code.OK, busy.ended().getCode());
        drained.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    }

    private static String emit(String members) {
        return "{\"do\": \"emit\", \"outputs\": [{" + members + "}]}";
    }

    private static OpenProcess.Builder validOpen(String handler) {
        return OpenProcess.newBuilder()
                .setProtocol(ProtocolRange.newBuilder().setMin(1).setMax(1))
                .setPipeline("pipeline")
                .setNode("node")
                .setHandler(handler);
    }

    private Coordinator open(OpenProcess.Builder open) {
        Coordinator coordinator = new Coordinator(channel);
        coordinator.requests.onNext(ProcessRequest.newBuilder().setOpen(open).build());
        return coordinator;
    }

    private Coordinator opened(String handler) throws InterruptedException {
        Coordinator coordinator = open(validOpen(handler));
        coordinator.next(ProcessResponse::hasOpened);
        return coordinator;
    }

    private Coordinator withConfig(String json) {
        return open(validOpen("map").setConfigJson(ByteString.copyFrom(json, UTF_8)));
    }

    private static List<Integer> parents(List<WorkResult> results) {
        List<Integer> parents = new ArrayList<>();
        for (WorkResult result : results) {
            ByteBuffer numbers = result.getOutputs().getParent().asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
            while (numbers.hasRemaining()) {
                parents.add(numbers.getInt());
            }
        }
        return parents;
    }

    private static Map<Integer, EventFailure> failures(List<WorkResult> results) {
        Map<Integer, EventFailure> failures = new HashMap<>();
        results.forEach(result -> result.getFailuresList().forEach(failure -> failures.put(failure.getIndex(), failure)));
        return failures;
    }

    private static String whole(List<WorkResult> results) {
        assertEquals(1, results.size());
        EventFailure failure = results.get(0).getFailures(0);
        assertEquals(-1, failure.getIndex());
        assertEquals(FailureAction.FAILURE_ACTION_RETRY, failure.getAction());
        return failure.getReason();
    }

    private static ErrorInfo info(Status status) throws Exception {
        return StatusProto.fromThrowable(status.getCause()).getDetails(0).unpack(ErrorInfo.class);
    }

    private static List<String> violations(Status status) throws Exception {
        assertEquals(Status.Code.INVALID_ARGUMENT, status.getCode());
        return StatusProto.fromThrowable(status.getCause()).getDetails(0).unpack(BadRequest.class)
                .getFieldViolationsList().stream().map(BadRequest.FieldViolation::getField).toList();
    }
}
