package meshloom.foreign;

/** The codes that this node gives in failures and statuses; the table "Reasons" of proto/README.md. */
public final class Reason {
    public static final String REJECTED = "REJECTED";
    public static final String RETRY = "RETRY";
    public static final String PAYLOAD_MISMATCH = "PAYLOAD_MISMATCH";
    public static final String HANDLER_ERROR = "HANDLER_ERROR";
    public static final String PANIC = "PANIC";
    public static final String OUTPUT_INVALID = "OUTPUT_INVALID";
    public static final String EVENT_TOO_LARGE = "EVENT_TOO_LARGE";
    public static final String ATTRIBUTE_TOO_LARGE = "ATTRIBUTE_TOO_LARGE";
    public static final String TOO_MANY_EXTENSIONS = "TOO_MANY_EXTENSIONS";
    public static final String ROUTE_UNDECLARED = "ROUTE_UNDECLARED";
    public static final String TIMEOUT = "TIMEOUT";
    public static final String CANCELLED = "CANCELLED";
    public static final String KEY_HELD = "KEY_HELD";
    public static final String BATCH_MALFORMED = "BATCH_MALFORMED";
    public static final String BATCH_TOO_LARGE = "BATCH_TOO_LARGE";
    public static final String LIMITS_EXCEEDED = "LIMITS_EXCEEDED";
    /** Of INTERPRETER.md: a command that the types of this language do not let a handler carry out. */
    public static final String UNWRITABLE = "UNWRITABLE";

    public static final String PROTOCOL_UNSUPPORTED = "PROTOCOL_UNSUPPORTED";
    public static final String PROTOCOL_VIOLATION = "PROTOCOL_VIOLATION";
    public static final String HANDLER_UNKNOWN = "HANDLER_UNKNOWN";
    public static final String HANDLER_ROLE_MISMATCH = "HANDLER_ROLE_MISMATCH";
    public static final String SETUP_FAILED = "SETUP_FAILED";

    private Reason() {}
}
