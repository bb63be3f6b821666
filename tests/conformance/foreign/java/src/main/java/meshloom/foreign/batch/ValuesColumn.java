package meshloom.foreign.batch;

import static meshloom.foreign.Reason.BATCH_MALFORMED;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import meshloom.v1.BatchOuterClass.Values;

/** Values of variable length, checked as B2 says. */
final class ValuesColumn {
    private final ByteString data;
    private final ByteBuffer ends;
    private final int size;

    private ValuesColumn(ByteString data, ByteBuffer ends, int size) {
        this.data = data;
        this.ends = ends;
        this.size = size;
    }

    /**
     * Checks the ends, then that each value is of at most {@code maxBytes}.
     *
     * @param column names the column in the message of a failure
     * @param tooLarge the reason of a value that is too large
     */
    static ValuesColumn read(Values values, String column, int maxBytes, String tooLarge) throws MalformedBatch {
        ByteString data = values.getData();
        ByteBuffer ends = littleEndian(values.getEnds());
        if (ends.limit() % Integer.BYTES != 0) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": `ends` has " + ends.limit() + " bytes, no multiple of 4");
        }
        int size = ends.limit() / Integer.BYTES;
        long start = 0;
        for (int i = 0; i < size; i++) {
            // As long: an end beyond 2^31 must neither wrap nor look negative (B10).
            long end = Integer.toUnsignedLong(ends.getInt(i * Integer.BYTES));
            if (end < start || end > data.size()) {
                throw new MalformedBatch(BATCH_MALFORMED, column + ": value " + i + " ends at " + end
                        + ", after " + start + ", in " + data.size() + " bytes of data");
            }
            if (end - start > maxBytes) {
                throw new MalformedBatch(tooLarge, column + ": value " + i + " has " + (end - start)
                        + " bytes; at most " + maxBytes);
            }
            start = end;
        }
        if (start != data.size()) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": the last value ends at " + start
                    + " of " + data.size() + " bytes of data");
        }
        return new ValuesColumn(data, ends, size);
    }

    int size() {
        return size;
    }

    ByteString get(int i) {
        int start = i == 0 ? 0 : ends.getInt((i - 1) * Integer.BYTES);
        return data.substring(start, ends.getInt(i * Integer.BYTES));
    }

    static ByteBuffer littleEndian(ByteString bytes) {
        return bytes.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
    }
}
