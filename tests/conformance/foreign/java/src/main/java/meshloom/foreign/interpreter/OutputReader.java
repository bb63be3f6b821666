package meshloom.foreign.interpreter;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import meshloom.foreign.Reason;
import meshloom.foreign.batch.ExtensionValue;
import meshloom.foreign.work.Failure;
import meshloom.foreign.work.Output;
import meshloom.v1.BatchOuterClass.ExtensionType;

/** Reads OUT, the output that a command asks for. */
final class OutputReader {
    private static final String JSON_TYPE = "application/json";
    private static final String TEXT_TYPE = "text/plain; charset=utf-8";
    private static final String BYTES_TYPE = "application/octet-stream";

    /** A payload and the content type that it has where the command names none (W5). */
    private record Payload(ByteString bytes, String contentType) {}

    private OutputReader() {}

    /** @param path of the object in the payload */
    static Output read(JsonNode json, String path) throws Failure {
        if (!(json instanceof ObjectNode object)) {
            throw Arguments.mismatch(path, "must be an object");
        }
        Arguments out = new Arguments(object, path + ".");
        Payload payload = payload(out);
        return new Output(
                payload.bytes(),
                out.textOr("content_type", payload.contentType()),
                out.textOr("type", null),
                out.textOr("subject", null),
                out.textOr("key", null),
                time(out),
                out.textOr("id", null),
                out.textOr("route", null),
                out.textOr("data_schema", null),
                extensions(out));
    }

    /** An output with a JSON payload. */
    static Output ofJson(JsonNode value) throws Failure {
        return new Output(Json.write(value), JSON_TYPE, null, null, null, Output.TIME_OF_PARENT, null, null, null, Map.of());
    }

    private static Payload payload(Arguments out) throws Failure {
        if (out.has("value")) {
            return new Payload(Json.write(out.any("value")), JSON_TYPE);
        }
        if (out.has("text")) {
            return new Payload(utf8(out.text("text"), out.path() + "text"), TEXT_TYPE);
        }
        if (out.has("base64")) {
            return new Payload(ByteString.copyFrom(out.base64("base64")), BYTES_TYPE);
        }
        return new Payload(null, null);
    }

    private static long time(Arguments out) throws Failure {
        if (!out.has("time")) {
            return Output.TIME_OF_PARENT;
        }
        if (out.any("time").isNull()) {
            return Output.TIME_CLEARED;
        }
        return timestamp(out, "time");
    }

    private static long timestamp(Arguments arguments, String name) throws Failure {
        long nanos = arguments.nanos(name);
        if (nanos == Output.TIME_CLEARED || nanos == Output.TIME_OF_PARENT) {
            throw Failure.reject(Reason.OUTPUT_INVALID, "`" + arguments.path() + name
                    + "` is a time for which the protocol has no room: the lowest two mean absent and the parent's");
        }
        return nanos;
    }

    private static Map<String, Optional<ExtensionValue>> extensions(Arguments out) throws Failure {
        if (!out.has("extensions")) {
            return Map.of();
        }
        if (!(out.any("extensions") instanceof ObjectNode object)) {
            throw Arguments.mismatch(out.path() + "extensions", "must be an object");
        }
        Map<String, Optional<ExtensionValue>> extensions = new TreeMap<>();
        for (Map.Entry<String, JsonNode> entry : object.properties()) {
            extensions.put(entry.getKey(), extension(entry.getValue(), out.path() + "extensions." + entry.getKey()));
        }
        return extensions;
    }

    private static Optional<ExtensionValue> extension(JsonNode json, String path) throws Failure {
        if (json.isNull()) {
            return Optional.empty();
        }
        if (!(json instanceof ObjectNode object)) {
            throw Arguments.mismatch(path, "must be null, or an object with `type` and `value`");
        }
        Arguments extension = new Arguments(object, path + ".");
        JsonNode value = extension.any("value");
        return Optional.of(switch (extension.text("type")) {
            case "boolean" -> {
                if (!value.isBoolean()) {
                    throw Arguments.mismatch(path + ".value", "must be true or false");
                }
                yield ExtensionValue.ofBoolean(value.booleanValue());
            }
            case "integer" -> {
                if (!value.isIntegralNumber()) {
                    throw Arguments.mismatch(path + ".value", "must be a whole number");
                }
                if (!value.canConvertToInt()) {
                    throw Failure.reject(Reason.OUTPUT_INVALID, "`" + path + ".value` is beyond 32 bits");
                }
                yield ExtensionValue.ofInteger(value.intValue());
            }
            case "string" -> text(extension, ExtensionType.EXTENSION_TYPE_STRING);
            case "uri" -> text(extension, ExtensionType.EXTENSION_TYPE_URI);
            case "uri_reference" -> text(extension, ExtensionType.EXTENSION_TYPE_URI_REFERENCE);
            case "binary" -> new ExtensionValue(
                    ExtensionType.EXTENSION_TYPE_BINARY, ByteString.copyFrom(extension.base64("value")));
            case "timestamp" -> ExtensionValue.ofTimestamp(extension.nanos("value"));
            default -> throw Arguments.mismatch(path + ".type", "is no type of an extension");
        });
    }

    private static ExtensionValue text(Arguments extension, ExtensionType type) throws Failure {
        return new ExtensionValue(type, utf8(extension.text("value"), extension.path() + "value"));
    }

    private static ByteString utf8(String text, String field) throws Failure {
        if (!UTF_8.newEncoder().canEncode(text)) {
            throw Failure.reject(Reason.OUTPUT_INVALID, "`" + field + "` is no Unicode text: it has half a surrogate pair");
        }
        return ByteString.copyFromUtf8(text);
    }
}
