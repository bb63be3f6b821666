package meshloom.foreign.batch;

/** A batch that breaks a rule of the section "Batch"; nothing of it reaches a handler. */
public final class MalformedBatch extends Exception {
    private static final long serialVersionUID = 1L;

    private final String reason;

    MalformedBatch(String reason, String message) {
        super(message, null, false, false);
        this.reason = reason;
    }

    /** BATCH_MALFORMED, or the reason that says more (W11). */
    public String reason() {
        return reason;
    }
}
