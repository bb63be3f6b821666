package meshloom.foreign.batch;

import static meshloom.foreign.Reason.ATTRIBUTE_TOO_LARGE;
import static meshloom.foreign.Reason.BATCH_MALFORMED;
import static meshloom.foreign.Reason.TOO_MANY_EXTENSIONS;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import meshloom.foreign.ProtocolLimits;
import meshloom.v1.BatchOuterClass.Extension;
import meshloom.v1.BatchOuterClass.ExtensionType;

/** One extension attribute of all or some events, checked as B6 and B7 say. */
final class ExtensionColumn {
    private final String name;
    private final ExtensionType type;
    private final ValuesColumn values;
    /** The events that it covers, ascending; null: all. */
    private final int[] index;

    private ExtensionColumn(String name, ExtensionType type, ValuesColumn values, int[] index) {
        this.name = name;
        this.type = type;
        this.values = values;
        this.index = index;
    }

    static List<ExtensionColumn> readAll(List<Extension> extensions, int count) throws MalformedBatch {
        if (extensions.size() > ProtocolLimits.EXTENSIONS) {
            throw new MalformedBatch(TOO_MANY_EXTENSIONS, extensions.size() + " extension columns; at most "
                    + ProtocolLimits.EXTENSIONS);
        }
        List<ExtensionColumn> columns = new ArrayList<>(extensions.size());
        Map<String, BitSet> covered = new HashMap<>();
        for (Extension extension : extensions) {
            ExtensionColumn column = read(extension, count);
            column.markCovered(covered.computeIfAbsent(column.name, name -> new BitSet(count)), count);
            columns.add(column);
        }
        return columns;
    }

    String name() {
        return name;
    }

    /** The value of an event; null: the column does not cover it. */
    ExtensionValue get(int event) {
        int position = index == null ? event : Arrays.binarySearch(index, event);
        return position < 0 ? null : new ExtensionValue(type, values.get(position));
    }

    private static ExtensionColumn read(Extension extension, int count) throws MalformedBatch {
        String name = extension.getName();
        if (!ExtensionValue.isName(name)) {
            throw new MalformedBatch(BATCH_MALFORMED, "extension \"" + name + "\": a name is 1 to 64 characters of [a-z0-9]");
        }
        String column = "extension " + name;
        ExtensionType type = extension.getType();
        ValuesColumn values = ValuesColumn.read(
                extension.getValues(), column, ProtocolLimits.ATTRIBUTE_BYTES, ATTRIBUTE_TOO_LARGE);
        for (int i = 0; i < values.size(); i++) {
            if (!hasForm(type, values.get(i))) {
                throw new MalformedBatch(BATCH_MALFORMED, column + ": value " + i + " is no " + type);
            }
        }
        int[] index = readIndex(extension.getIndex(), column, count);
        int covers = index == null ? count : index.length;
        if (values.size() != covers) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": " + values.size() + " values for " + covers + " events");
        }
        return new ExtensionColumn(name, type, values, index);
    }

    private static boolean hasForm(ExtensionType type, ByteString value) {
        return switch (type) {
            case EXTENSION_TYPE_BOOLEAN -> value.size() == 1 && (value.byteAt(0) & 0xFE) == 0;
            case EXTENSION_TYPE_INTEGER -> value.size() == Integer.BYTES;
            case EXTENSION_TYPE_TIMESTAMP -> value.size() == Long.BYTES;
            case EXTENSION_TYPE_STRING, EXTENSION_TYPE_URI, EXTENSION_TYPE_URI_REFERENCE -> value.isValidUtf8();
            case EXTENSION_TYPE_BINARY -> true;
            case EXTENSION_TYPE_UNSPECIFIED, UNRECOGNIZED -> false;
        };
    }

    private static int[] readIndex(ByteString bytes, String column, int count) throws MalformedBatch {
        if (bytes.isEmpty()) {
            return null;
        }
        if (bytes.size() % Integer.BYTES != 0) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": an index of " + bytes.size() + " bytes");
        }
        ByteBuffer buffer = ValuesColumn.littleEndian(bytes);
        int size = bytes.size() / Integer.BYTES;
        if (size > count) {
            throw new MalformedBatch(BATCH_MALFORMED, column + ": an index of " + size + " for " + count + " events");
        }
        int[] index = new int[size];
        long before = -1;
        for (int i = 0; i < size; i++) {
            long event = Integer.toUnsignedLong(buffer.getInt());
            if (event <= before || event >= count) {
                throw new MalformedBatch(BATCH_MALFORMED, column + ": index " + event + " after " + before
                        + " of " + count + " events");
            }
            index[i] = (int) event;
            before = event;
        }
        return index;
    }

    private void markCovered(BitSet covered, int count) throws MalformedBatch {
        BitSet mine = new BitSet(count);
        if (index == null) {
            mine.set(0, count);
        } else {
            for (int event : index) {
                mine.set(event);
            }
        }
        if (mine.intersects(covered)) {
            throw new MalformedBatch(BATCH_MALFORMED, "extension " + name + ": an event has it twice");
        }
        covered.or(mine);
    }
}
