package meshloom.foreign.batch;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import meshloom.v1.BatchOuterClass.Batch;
import meshloom.v1.BatchOuterClass.Strings;
import meshloom.v1.BatchOuterClass.Values;

/** Columns by hand. */
public final class Columns {
    private Columns() {}

    public static ByteString u32(int... numbers) {
        ByteBuffer buffer = ByteBuffer.allocate(numbers.length * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        Arrays.stream(numbers).forEach(buffer::putInt);
        return ByteString.copyFrom(buffer.flip());
    }

    public static ByteString i64(long... numbers) {
        ByteBuffer buffer = ByteBuffer.allocate(numbers.length * Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        Arrays.stream(numbers).forEach(buffer::putLong);
        return ByteString.copyFrom(buffer.flip());
    }

    public static Values values(ByteString... values) {
        int[] ends = new int[values.length];
        int end = 0;
        for (int i = 0; i < values.length; i++) {
            end += values[i].size();
            ends[i] = end;
        }
        return Values.newBuilder().setData(ByteString.copyFrom(Arrays.asList(values))).setEnds(u32(ends)).build();
    }

    public static Values values(String... values) {
        return values(Arrays.stream(values).map(ByteString::copyFromUtf8).toArray(ByteString[]::new));
    }

    public static Strings strings(String... values) {
        return Strings.newBuilder().setValues(values(values)).build();
    }

    public static Strings indexed(int[] index, String... values) {
        return strings(values).toBuilder().setIndex(u32(index)).build();
    }

    /** A well-formed batch with these payloads; event i has the uid 0, ..., 0, i. */
    public static Batch.Builder batch(String... payloads) {
        byte[] uid = new byte[16 * payloads.length];
        for (int i = 0; i < payloads.length; i++) {
            uid[16 * i + 15] = (byte) i;
        }
        return Batch.newBuilder()
                .setCount(payloads.length)
                .setPayload(values(payloads))
                .setUid(ByteString.copyFrom(uid));
    }
}
