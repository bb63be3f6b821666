package meshloom.foreign.batch;

import com.google.protobuf.ByteString;
import java.util.Map;

/**
 * An event as the columns say it (B11). A text that is null is absent, which is not the same as empty.
 *
 * @param uid 16 bytes
 * @param time nanoseconds since 1970, UTC; null: absent
 * @param attempt which attempt this is, from 1
 */
public record Event(
        ByteString payload,
        String contentType,
        ByteString uid,
        Long time,
        String id,
        String source,
        String type,
        String subject,
        String key,
        String dataSchema,
        String from,
        Map<String, ExtensionValue> extensions,
        long attempt) {}
