package meshloom.foreign.batch;

import static meshloom.foreign.Reason.ATTRIBUTE_TOO_LARGE;
import static meshloom.foreign.Reason.BATCH_MALFORMED;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import meshloom.v1.BatchOuterClass.Strings;

/** A column of texts, checked as B4 says. */
final class TextColumn {
    private static final int ABSENT = -1; // 0xFFFFFFFF

    private final String[] values;
    /** Which value each event has; null: one for all, or none. */
    private final int[] index;

    private TextColumn(String[] values, int[] index) {
        this.values = values;
        this.index = index;
    }

    static TextColumn read(Strings strings, String column, int count, int maxBytes) throws MalformedBatch {
        ValuesColumn encoded = ValuesColumn.read(strings.getValues(), column, maxBytes, ATTRIBUTE_TOO_LARGE);
        String[] values = new String[encoded.size()];
        for (int i = 0; i < values.length; i++) {
            // A value that no index names is checked too.
            values[i] = text(encoded.get(i), column, i);
        }
        return new TextColumn(values, readIndex(strings.getIndex(), values.length, column, count));
    }

    /** The text of an event; null: absent. */
    String get(int event) {
        if (index != null) {
            return index[event] == ABSENT ? null : values[index[event]];
        }
        return values.length == 0 ? null : values[0];
    }

    static String text(ByteString bytes, String column, int i) throws MalformedBatch {
        if (!bytes.isValidUtf8()) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": value " + i + " is not UTF-8");
        }
        return bytes.toStringUtf8();
    }

    private static int[] readIndex(ByteString bytes, int values, String column, int count) throws MalformedBatch {
        if (bytes.isEmpty()) {
            if (values != 0 && values != 1 && values != count) {
                throw new MalformedBatch(BATCH_MALFORMED, column + ": " + values + " values without an index for "
                        + count + " events");
            }
            return values <= 1 ? null : identity(count);
        }
        if (bytes.size() != (long) count * Integer.BYTES) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": an index of " + bytes.size() + " bytes for "
                    + count + " events");
        }
        ByteBuffer buffer = ValuesColumn.littleEndian(bytes);
        int[] index = new int[count];
        for (int i = 0; i < count; i++) {
            index[i] = buffer.getInt();
            if (index[i] != ABSENT && Integer.compareUnsigned(index[i], values) >= 0) {
                throw new MalformedBatch(BATCH_MALFORMED, column + ": event " + i + " has value "
                        + Integer.toUnsignedLong(index[i]) + " of " + values);
            }
        }
        return index;
    }

    private static int[] identity(int count) {
        int[] index = new int[count];
        for (int i = 0; i < count; i++) {
            index[i] = i;
        }
        return index;
    }
}
