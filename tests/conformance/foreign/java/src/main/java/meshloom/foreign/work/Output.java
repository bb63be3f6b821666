package meshloom.foreign.work;

import static java.nio.charset.StandardCharsets.UTF_8;
import static meshloom.foreign.Reason.ATTRIBUTE_TOO_LARGE;
import static meshloom.foreign.Reason.EVENT_TOO_LARGE;
import static meshloom.foreign.Reason.OUTPUT_INVALID;
import static meshloom.foreign.Reason.ROUTE_UNDECLARED;
import static meshloom.foreign.Reason.TOO_MANY_EXTENSIONS;

import com.google.protobuf.ByteString;
import java.util.Collection;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import meshloom.foreign.ProtocolLimits;
import meshloom.foreign.batch.Event;
import meshloom.foreign.batch.ExtensionValue;

/**
 * An output event, as far as it differs from its parent (W4).
 *
 * @param payload null: the parent's
 * @param contentType as each text: null is the parent's, "" clears it
 * @param time {@link #TIME_OF_PARENT}, {@link #TIME_CLEARED}, or nanoseconds since 1970, UTC
 * @param route null or "": none
 * @param extensions what is set, or, where there is no value, removed
 */
public record Output(
        ByteString payload,
        String contentType,
        String type,
        String subject,
        String key,
        long time,
        String id,
        String route,
        String dataSchema,
        Map<String, Optional<ExtensionValue>> extensions) {

    public static final long TIME_CLEARED = Long.MIN_VALUE;
    public static final long TIME_OF_PARENT = Long.MIN_VALUE + 1;
    /** The event goes on as it is; it has no payload on the way back (W4). */
    public static final Output UNCHANGED =
            new Output(null, null, null, null, null, TIME_OF_PARENT, null, null, null, Map.of());

    /**
     * Checks that the protocol can carry the output (W19).
     *
     * @throws Failure a REJECT of the event that the output came from
     */
    void check(Event parent, Collection<String> routes) throws Failure {
        if (payload != null && payload.size() > ProtocolLimits.PAYLOAD_BYTES) {
            throw Failure.reject(EVENT_TOO_LARGE, "the payload of an output has " + payload.size() + " bytes; at most "
                    + ProtocolLimits.PAYLOAD_BYTES);
        }
        checkText("content_type", contentType, ProtocolLimits.ATTRIBUTE_BYTES);
        checkText("type", type, ProtocolLimits.ATTRIBUTE_BYTES);
        checkText("subject", subject, ProtocolLimits.ATTRIBUTE_BYTES);
        checkText("key", key, ProtocolLimits.KEY_BYTES);
        checkText("id", id, ProtocolLimits.ATTRIBUTE_BYTES);
        checkText("data_schema", dataSchema, ProtocolLimits.ATTRIBUTE_BYTES);
        if (route != null && !route.isEmpty() && !routes.contains(route)) {
            throw Failure.reject(ROUTE_UNDECLARED, "the handler declares no route \"" + route + "\", but " + routes);
        }
        checkExtensions(parent);
    }

    /** About how many bytes it takes on the wire. */
    int size() {
        int size = payload == null ? 0 : payload.size();
        for (String text : new String[] {contentType, type, subject, key, id, route, dataSchema}) {
            size += text == null ? 0 : text.length() * 3;
        }
        for (Map.Entry<String, Optional<ExtensionValue>> extension : extensions.entrySet()) {
            size += extension.getKey().length() + extension.getValue().map(value -> value.bytes().size()).orElse(0);
        }
        return size;
    }

    private static void checkText(String name, String text, int maxBytes) throws Failure {
        if (text == null) {
            return;
        }
        if (!UTF_8.newEncoder().canEncode(text)) {
            throw Failure.reject(OUTPUT_INVALID, "`" + name + "` of an output is no Unicode text: it has half a surrogate pair");
        }
        int bytes = text.getBytes(UTF_8).length;
        if (bytes > maxBytes) {
            throw Failure.reject(ATTRIBUTE_TOO_LARGE, "`" + name + "` of an output has " + bytes + " bytes; at most " + maxBytes);
        }
    }

    private void checkExtensions(Event parent) throws Failure {
        if (extensions.isEmpty()) {
            return;
        }
        Set<String> names = new HashSet<>(parent.extensions().keySet());
        for (Map.Entry<String, Optional<ExtensionValue>> extension : extensions.entrySet()) {
            String name = extension.getKey();
            if (!ExtensionValue.isName(name)) {
                throw Failure.reject(OUTPUT_INVALID, "extension \"" + name + "\" of an output: a name is 1 to 64 characters of [a-z0-9]");
            }
            if (extension.getValue().isEmpty()) {
                names.remove(name);
                continue;
            }
            names.add(name);
            int bytes = extension.getValue().get().bytes().size();
            if (bytes > ProtocolLimits.ATTRIBUTE_BYTES) {
                throw Failure.reject(ATTRIBUTE_TOO_LARGE, "extension " + name + " of an output has " + bytes
                        + " bytes; at most " + ProtocolLimits.ATTRIBUTE_BYTES);
            }
        }
        if (names.size() > ProtocolLimits.EXTENSIONS || extensions.size() > ProtocolLimits.EXTENSIONS) {
            throw Failure.reject(TOO_MANY_EXTENSIONS, "an output has " + Math.max(names.size(), extensions.size())
                    + " extensions; at most " + ProtocolLimits.EXTENSIONS);
        }
    }
}
