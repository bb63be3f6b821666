package meshloom.foreign;

/** What the protocol allows at most; the table "Limits" of proto/README.md. */
public final class ProtocolLimits {
    public static final int MESSAGE_BYTES = 64 << 20;
    public static final int BATCH_BYTES = 32 << 20;
    public static final int BATCH_EVENTS = 65_536;
    public static final int RESULT_OUTPUTS = 65_536;
    public static final int PAYLOAD_BYTES = 16 << 20;
    public static final int ATTRIBUTE_BYTES = 64 << 10;
    public static final int KEY_BYTES = 1 << 10;
    public static final int EXTENSIONS = 64;
    public static final int FAILURE_MESSAGE_BYTES = 4 << 10;
    public static final int PROGRESS_CALLS = 256;

    private ProtocolLimits() {}
}
