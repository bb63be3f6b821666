package meshloom.foreign.batch;

import static meshloom.foreign.Reason.BATCH_MALFORMED;
import static meshloom.foreign.Reason.EVENT_TOO_LARGE;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import meshloom.foreign.ProtocolLimits;
import meshloom.v1.BatchOuterClass.Batch;
import meshloom.v1.BatchOuterClass.SpanContext;
import meshloom.v1.BatchOuterClass.Strings;

/** A well-formed batch of a work: B1 to B9 hold, and its events can be read. */
public final class EventBatch {
    private static final int UID_BYTES = 16;
    private static final int TRACE_ID_BYTES = 16;
    private static final int SPAN_ID_BYTES = 8;
    private static final long TIME_ABSENT = Long.MIN_VALUE;

    private final int count;
    private final ValuesColumn payload;
    private final ByteString uid;
    private final ByteBuffer time;
    private final ByteBuffer attempts;
    private final TextColumn contentType;
    private final TextColumn id;
    private final TextColumn source;
    private final TextColumn type;
    private final TextColumn subject;
    private final TextColumn key;
    private final TextColumn dataSchema;
    private final TextColumn from;
    private final List<ExtensionColumn> extensions;

    private EventBatch(Batch batch, ByteString attempts) throws MalformedBatch {
        count = readCount(batch.getCount()); // B1, before anything is allocated for it (B10)
        payload = readPayload(batch); // B3
        contentType = text(batch.getContentType(), "content_type"); // B4
        id = text(batch.getId(), "id");
        source = text(batch.getSource(), "source");
        type = text(batch.getType(), "type");
        subject = text(batch.getSubject(), "subject");
        key = TextColumn.read(batch.getKey(), "key", count, ProtocolLimits.KEY_BYTES);
        dataSchema = text(batch.getDataSchema(), "data_schema");
        from = text(batch.getFrom(), "from");
        uid = sized(batch.getUid(), "uid", UID_BYTES); // B5
        time = batch.getTime().isEmpty() ? null : buffer(batch.getTime(), "time", Long.BYTES);
        extensions = ExtensionColumn.readAll(batch.getExtensionsList(), count); // B6, B7
        checkSpans(batch.getSpansList()); // B8
        this.attempts = readAttempts(attempts); // B9
    }

    /**
     * Reads the batch of a work.
     *
     * @throws MalformedBatch if one of B1 to B9 does not hold
     */
    public static EventBatch read(Batch batch, ByteString attempts) throws MalformedBatch {
        return new EventBatch(batch, attempts);
    }

    public int count() {
        return count;
    }

    /** The ordering key of an event; null: it has none. */
    public String key(int event) {
        return key.get(event);
    }

    public Event event(int i) {
        Map<String, ExtensionValue> values = new TreeMap<>();
        for (ExtensionColumn column : extensions) {
            ExtensionValue value = column.get(i);
            if (value != null) {
                values.put(column.name(), value);
            }
        }
        return new Event(
                payload == null ? ByteString.EMPTY : payload.get(i),
                contentType.get(i),
                uid.substring(i * UID_BYTES, (i + 1) * UID_BYTES),
                timeOf(i),
                id.get(i),
                source.get(i),
                type.get(i),
                subject.get(i),
                key.get(i),
                dataSchema.get(i),
                from.get(i),
                values,
                attempts == null ? 1 : Integer.toUnsignedLong(attempts.getInt(i * Integer.BYTES))); // W12
    }

    private Long timeOf(int i) {
        if (time == null) {
            return null;
        }
        long nanos = time.getLong(i * Long.BYTES);
        return nanos == TIME_ABSENT ? null : Long.valueOf(nanos);
    }

    private static int readCount(int count) throws MalformedBatch {
        if (count == 0 || Integer.compareUnsigned(count, ProtocolLimits.BATCH_EVENTS) > 0) {
            throw new MalformedBatch(BATCH_MALFORMED, "count is " + Integer.toUnsignedLong(count) + "; 1 to "
                    + ProtocolLimits.BATCH_EVENTS);
        }
        return count;
    }

    private ValuesColumn readPayload(Batch batch) throws MalformedBatch {
        if (!batch.hasPayload()) {
            return null;
        }
        ValuesColumn values = ValuesColumn.read(
                batch.getPayload(), "payload", ProtocolLimits.PAYLOAD_BYTES, EVENT_TOO_LARGE);
        if (values.size() != count) {
            throw new MalformedBatch(BATCH_MALFORMED, "payload: " + values.size() + " values for " + count + " events");
        }
        return values;
    }

    private TextColumn text(Strings strings, String column) throws MalformedBatch {
        return TextColumn.read(strings, column, count, ProtocolLimits.ATTRIBUTE_BYTES);
    }

    private ByteString sized(ByteString bytes, String column, int bytesPerEvent) throws MalformedBatch {
        if (bytes.size() != (long) count * bytesPerEvent) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": " + bytes.size() + " bytes for " + count + " events of "
                    + bytesPerEvent);
        }
        return bytes;
    }

    private ByteBuffer buffer(ByteString bytes, String column, int bytesPerEvent) throws MalformedBatch {
        return ValuesColumn.littleEndian(sized(bytes, column, bytesPerEvent));
    }

    /**
     * A node without an exporter makes no span (G1), so only the form is checked. All-zero ids, unknown flags and an odd
     * tracestate do not make a batch malformed.
     */
    private void checkSpans(List<SpanContext> spans) throws MalformedBatch {
        long before = -1;
        for (SpanContext span : spans) {
            long event = Integer.toUnsignedLong(span.getIndex());
            if (event <= before || event >= count) {
                throw new MalformedBatch(BATCH_MALFORMED, "spans: index " + event + " after " + before + " of " + count
                        + " events");
            }
            if (span.getTraceId().size() != TRACE_ID_BYTES || span.getSpanId().size() != SPAN_ID_BYTES) {
                throw new MalformedBatch(BATCH_MALFORMED, "spans: of event " + event + " trace_id has "
                        + span.getTraceId().size() + " bytes and span_id " + span.getSpanId().size() + "; 16 and 8");
            }
            before = event;
        }
    }

    private ByteBuffer readAttempts(ByteString bytes) throws MalformedBatch {
        if (bytes.isEmpty()) {
            return null;
        }
        ByteBuffer values = buffer(bytes, "attempts", Integer.BYTES);
        for (int i = 0; i < count; i++) {
            if (values.getInt(i * Integer.BYTES) == 0) {
                throw new MalformedBatch(BATCH_MALFORMED, "attempts: of event " + i + " is 0; from 1");
            }
        }
        return values;
    }
}
