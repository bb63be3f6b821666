package meshloom.foreign.work;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import meshloom.foreign.batch.ExtensionValue;
import meshloom.v1.BatchOuterClass.Extension;
import meshloom.v1.BatchOuterClass.ExtensionType;
import meshloom.v1.BatchOuterClass.Strings;
import meshloom.v1.BatchOuterClass.Values;
import meshloom.v1.Process.Outputs;

/** Writes outputs in columns (W3, W4). */
final class OutputColumns {
    private static final int OF_PARENT = -1; // 0xFFFFFFFF

    /** Extensions of one name and type share a column; those that are removed share one of type UNSPECIFIED. */
    record ExtensionKey(String name, ExtensionType type) {
        static ExtensionKey of(String name, Optional<ExtensionValue> value) {
            return new ExtensionKey(name, value.map(ExtensionValue::type).orElse(ExtensionType.EXTENSION_TYPE_UNSPECIFIED));
        }
    }

    private OutputColumns() {}

    /**
     * Writes rows whose parents never fall.
     *
     * @param rows either all or none have a payload of their own
     * @param continued whether the last parent goes on in the next result
     */
    static Outputs encode(List<Row> rows, boolean continued) {
        Outputs.Builder outputs = Outputs.newBuilder()
                .setCount(rows.size())
                .setParent(parents(rows))
                .setContinued(continued);
        if (rows.get(0).output().payload() != null) {
            outputs.setPayload(payloads(rows));
        }
        text(rows, Output::contentType).ifPresent(outputs::setContentType);
        text(rows, Output::type).ifPresent(outputs::setType);
        text(rows, Output::subject).ifPresent(outputs::setSubject);
        text(rows, Output::key).ifPresent(outputs::setKey);
        text(rows, Output::id).ifPresent(outputs::setId);
        text(rows, Output::route).ifPresent(outputs::setRoute);
        text(rows, Output::dataSchema).ifPresent(outputs::setDataSchema);
        return outputs.setTime(times(rows)).addAllExtensions(extensions(rows)).build();
    }

    private static ByteString parents(List<Row> rows) {
        ByteBuffer parents = littleEndian(rows.size() * Integer.BYTES);
        rows.forEach(row -> parents.putInt(row.parent()));
        return ByteString.copyFrom(parents.flip());
    }

    private static Values payloads(List<Row> rows) {
        return values(rows.stream().map(row -> row.output().payload()).toList());
    }

    private static Values values(List<ByteString> values) {
        ByteBuffer ends = littleEndian(values.size() * Integer.BYTES);
        int end = 0;
        for (ByteString value : values) {
            end += value.size();
            ends.putInt(end);
        }
        return Values.newBuilder().setData(ByteString.copyFrom(values)).setEnds(ByteString.copyFrom(ends.flip())).build();
    }

    /** The column of a text; none where every output has its parent's. */
    private static Optional<Strings> text(List<Row> rows, Function<Output, String> attribute) {
        Map<String, Integer> distinct = new LinkedHashMap<>();
        ByteBuffer index = littleEndian(rows.size() * Integer.BYTES);
        boolean allSet = true;
        for (Row row : rows) {
            String text = attribute.apply(row.output());
            allSet &= text != null;
            Integer known = text == null ? Integer.valueOf(OF_PARENT) : distinct.get(text);
            if (known == null) {
                known = distinct.size();
                distinct.put(text, known);
            }
            index.putInt(known);
        }
        if (distinct.isEmpty()) {
            return Optional.empty();
        }
        Strings.Builder strings = Strings.newBuilder()
                .setValues(values(distinct.keySet().stream().map(ByteString::copyFromUtf8).toList()));
        if (!allSet || distinct.size() > 1) {
            strings.setIndex(ByteString.copyFrom(index.flip()));
        }
        return Optional.of(strings.build());
    }

    private static ByteString times(List<Row> rows) {
        if (rows.stream().allMatch(row -> row.output().time() == Output.TIME_OF_PARENT)) {
            return ByteString.EMPTY;
        }
        ByteBuffer times = littleEndian(rows.size() * Long.BYTES);
        rows.forEach(row -> times.putLong(row.output().time()));
        return ByteString.copyFrom(times.flip());
    }

    private static List<Extension> extensions(List<Row> rows) {
        Map<ExtensionKey, ExtensionRows> columns = new LinkedHashMap<>();
        for (int i = 0; i < rows.size(); i++) {
            for (Map.Entry<String, Optional<ExtensionValue>> entry : rows.get(i).output().extensions().entrySet()) {
                columns.computeIfAbsent(ExtensionKey.of(entry.getKey(), entry.getValue()), key -> new ExtensionRows())
                        .add(i, entry.getValue());
            }
        }
        return columns.entrySet().stream().map(column -> column.getValue().encode(column.getKey())).toList();
    }

    private static ByteBuffer littleEndian(int bytes) {
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The outputs that an extension column covers, and their values. */
    private static final class ExtensionRows {
        private final List<Integer> covered = new ArrayList<>();
        private final List<ByteString> values = new ArrayList<>();

        void add(int row, Optional<ExtensionValue> value) {
            covered.add(row);
            value.ifPresent(present -> values.add(present.bytes()));
        }

        Extension encode(ExtensionKey key) {
            ByteBuffer index = littleEndian(covered.size() * Integer.BYTES);
            covered.forEach(index::putInt);
            Extension.Builder extension = Extension.newBuilder()
                    .setName(key.name())
                    .setType(key.type())
                    .setIndex(ByteString.copyFrom(index.flip()));
            if (!values.isEmpty()) {
                extension.setValues(values(values));
            }
            return extension.build();
        }
    }
}
