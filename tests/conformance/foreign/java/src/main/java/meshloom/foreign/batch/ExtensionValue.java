package meshloom.foreign.batch;

import com.google.protobuf.ByteString;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.regex.Pattern;
import meshloom.v1.BatchOuterClass.ExtensionType;

/** A value of a CloudEvents extension attribute: its type and its bytes as on the wire. */
public record ExtensionValue(ExtensionType type, ByteString bytes) {

    private static final Pattern NAME = Pattern.compile("[a-z0-9]{1,64}");

    /** Whether an extension may be called so. */
    public static boolean isName(String name) {
        return NAME.matcher(name).matches();
    }

    public static ExtensionValue ofBoolean(boolean value) {
        return new ExtensionValue(ExtensionType.EXTENSION_TYPE_BOOLEAN,
                ByteString.copyFrom(new byte[] {(byte) (value ? 1 : 0)}));
    }

    public static ExtensionValue ofInteger(int value) {
        ByteBuffer buffer = ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(0, value);
        return new ExtensionValue(ExtensionType.EXTENSION_TYPE_INTEGER, ByteString.copyFrom(buffer));
    }

    /** A time in nanoseconds since 1970, UTC. */
    public static ExtensionValue ofTimestamp(long nanos) {
        ByteBuffer buffer = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(0, nanos);
        return new ExtensionValue(ExtensionType.EXTENSION_TYPE_TIMESTAMP, ByteString.copyFrom(buffer));
    }

    public boolean asBoolean() {
        return bytes.byteAt(0) == 1;
    }

    public int asInteger() {
        return ValuesColumn.littleEndian(bytes).getInt();
    }

    public long asTimestamp() {
        return ValuesColumn.littleEndian(bytes).getLong();
    }

    /** The text of a STRING, URI or URI_REFERENCE. */
    public String asText() {
        return bytes.toStringUtf8();
    }
}
