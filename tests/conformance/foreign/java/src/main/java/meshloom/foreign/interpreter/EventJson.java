package meshloom.foreign.interpreter;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import meshloom.foreign.batch.Event;
import meshloom.foreign.batch.ExtensionValue;
import meshloom.foreign.work.Call;
import meshloom.foreign.work.Output;

/** What a handler was given, as `context` tells it and as `copy` gives it back. */
final class EventJson {
    private EventJson() {}

    static ObjectNode context(Call call, String label) {
        Event event = call.event();
        ObjectNode context = Json.object()
                .put("uid", HexFormat.of().formatHex(event.uid().toByteArray()))
                .put("id", event.id())
                .put("source", event.source())
                .put("type", event.type())
                .put("subject", event.subject())
                .put("key", event.key())
                .put("from", event.from())
                .put("content_type", event.contentType())
                .put("data_schema", event.dataSchema())
                .put("time", event.time() == null ? null : event.time().toString())
                .put("payload", base64(event.payload().toByteArray()))
                .put("attempt", event.attempt())
                .put("pipeline", call.pipeline())
                .put("node", call.node())
                .put("replica", call.node() + "/" + call.replica())
                .put("label", label)
                // A node without an exporter makes no span.
                .putNull("trace");
        call.remainingMillis().ifPresentOrElse(
                millis -> context.put("deadline_ms", millis), () -> context.putNull("deadline_ms"));
        context.set("extensions", extensions(event.extensions()));
        return context;
    }

    /** An output that sets all that the handler read; what is absent is cleared. There is no `source` to set. */
    static Output copy(Event event) {
        Map<String, Optional<ExtensionValue>> extensions = new TreeMap<>();
        event.extensions().forEach((name, value) -> extensions.put(name, Optional.of(value)));
        return new Output(
                event.payload(),
                orCleared(event.contentType()),
                orCleared(event.type()),
                orCleared(event.subject()),
                orCleared(event.key()),
                event.time() == null ? Output.TIME_CLEARED : event.time(),
                event.id(),
                null,
                orCleared(event.dataSchema()),
                extensions);
    }

    private static String orCleared(String text) {
        return text == null ? "" : text;
    }

    private static ObjectNode extensions(Map<String, ExtensionValue> values) {
        ObjectNode extensions = Json.object();
        values.forEach((name, value) -> {
            ObjectNode extension = extensions.putObject(name);
            switch (value.type()) {
                case EXTENSION_TYPE_BOOLEAN -> extension.put("type", "boolean").put("value", value.asBoolean());
                case EXTENSION_TYPE_INTEGER -> extension.put("type", "integer").put("value", value.asInteger());
                case EXTENSION_TYPE_STRING -> extension.put("type", "string").put("value", value.asText());
                case EXTENSION_TYPE_URI -> extension.put("type", "uri").put("value", value.asText());
                case EXTENSION_TYPE_URI_REFERENCE -> extension.put("type", "uri_reference").put("value", value.asText());
                case EXTENSION_TYPE_BINARY ->
                        extension.put("type", "binary").put("value", base64(value.bytes().toByteArray()));
                case EXTENSION_TYPE_TIMESTAMP ->
                        extension.put("type", "timestamp").put("value", Long.toString(value.asTimestamp()));
                case EXTENSION_TYPE_UNSPECIFIED, UNRECOGNIZED -> throw new IllegalStateException("such a batch is malformed");
            }
        });
        return extensions;
    }

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }
}
