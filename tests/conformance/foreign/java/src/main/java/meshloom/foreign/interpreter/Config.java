package meshloom.foreign.interpreter;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import meshloom.foreign.Refusal;
import meshloom.foreign.Refusal.Violation;

/**
 * The config of a handler, as far as level core has one.
 *
 * @param label told by `context`
 * @param command obeyed for every event in place of its payload; null: none
 * @param setup what set-up does
 */
record Config(String label, ObjectNode command, SetUp setup) {

    enum SetUp { SUCCEED, REFUSE, FAIL, FAIL_ONCE }

    /** @throws io.grpc.StatusRuntimeException with all violations that can be found (O4) */
    static Config parse(ByteString json) {
        if (json.isEmpty()) {
            return new Config("", null, SetUp.SUCCEED);
        }
        ObjectNode object = Json.parseObject(json).orElseThrow(
                () -> refused(List.of(new Violation("", "must be a JSON object in UTF-8"))));
        List<Violation> violations = new ArrayList<>();
        String label = "";
        ObjectNode command = null;
        SetUp setup = SetUp.SUCCEED;
        for (Map.Entry<String, JsonNode> entry : object.properties()) {
            JsonNode value = entry.getValue();
            switch (entry.getKey()) {
                case "label" -> label = text("label", value, violations);
                case "command" -> {
                    if (value instanceof ObjectNode commandObject) {
                        command = commandObject;
                    } else {
                        violations.add(new Violation("command", "must be an object"));
                    }
                }
                case "setup" -> setup = setUp(text("setup", value, violations), violations);
                default -> violations.add(new Violation(entry.getKey(),
                        "is not known; there are `label`, `command` and `setup`"));
            }
        }
        if (!violations.isEmpty()) {
            throw refused(violations);
        }
        return new Config(label, command, setup);
    }

    static RuntimeException refused(List<Violation> violations) {
        return Refusal.badRequest("the config is refused", violations);
    }

    private static String text(String field, JsonNode value, List<Violation> violations) {
        if (!value.isTextual()) {
            violations.add(new Violation(field, "must be a string"));
            return "";
        }
        return value.textValue();
    }

    private static SetUp setUp(String text, List<Violation> violations) {
        switch (text) {
            case "":
                return SetUp.SUCCEED;
            case "refuse":
                return SetUp.REFUSE;
            case "fail":
                return SetUp.FAIL;
            case "fail_once":
                return SetUp.FAIL_ONCE;
            default:
                violations.add(new Violation("setup", "must be `refuse`, `fail` or `fail_once`, or empty"));
                return SetUp.SUCCEED;
        }
    }
}
