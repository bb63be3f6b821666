package meshloom.foreign.work;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.protobuf.ByteString;
import com.google.protobuf.Duration;
import java.util.regex.Pattern;
import meshloom.foreign.ProtocolLimits;
import meshloom.foreign.Reason;
import meshloom.v1.Process.EventFailure;
import meshloom.v1.Process.FailureAction;

/** The failure of one event, which a handler may throw: RETRY or REJECT with a reason and a message (W7). */
public final class Failure extends Exception {
    private static final long serialVersionUID = 1L;
    private static final int WHOLE_WORK = -1; // 0xFFFFFFFF
    private static final Pattern REASON = Pattern.compile("[A-Z0-9_]{1,64}");

    private final FailureAction action;
    private final String reason;
    private final Long retryAfterMillis;

    private Failure(FailureAction action, String reason, String message, Long retryAfterMillis) {
        super(message, null, false, false);
        this.action = action;
        this.reason = reason;
        this.retryAfterMillis = retryAfterMillis;
    }

    public static Failure reject(String reason, String message) {
        return of(FailureAction.FAILURE_ACTION_REJECT, reason, Reason.REJECTED, message, null);
    }

    public static Failure retry(String reason, String message) {
        return retry(reason, message, null);
    }

    /** A retry not before some time from now; null: as the node's policy says. */
    public static Failure retry(String reason, String message, Long afterMillis) {
        return of(FailureAction.FAILURE_ACTION_RETRY, reason, Reason.RETRY, message, afterMillis);
    }

    /** What a handler threw that is no failure of its own making (W8). */
    static Failure ofThrown(Throwable thrown) {
        String message = thrown.getMessage() == null ? thrown.getClass().getName() : thrown.getMessage();
        return retry(thrown instanceof Exception ? Reason.HANDLER_ERROR : Reason.PANIC, message);
    }

    boolean isRetry() {
        return action == FailureAction.FAILURE_ACTION_RETRY;
    }

    EventFailure ofInput(int input) {
        EventFailure.Builder failure = EventFailure.newBuilder()
                .setIndex(input)
                .setAction(action)
                .setReason(reason)
                .setMessage(cut(getMessage()));
        if (retryAfterMillis != null) {
            failure.setRetryAfter(Duration.newBuilder()
                    .setSeconds(retryAfterMillis / 1000)
                    .setNanos((int) (retryAfterMillis % 1000) * 1_000_000));
        }
        return failure.build();
    }

    EventFailure ofWholeWork() {
        return ofInput(WHOLE_WORK);
    }

    private static Failure of(
            FailureAction action, String reason, String defaultReason, String message, Long retryAfterMillis) {
        if (REASON.matcher(reason).matches()) {
            return new Failure(action, reason, message, retryAfterMillis);
        }
        // A reason that cannot be sent must not be lost.
        return new Failure(action, defaultReason, reason + ": " + message, retryAfterMillis);
    }

    /** Cuts to what a message may have, between two characters. */
    private static String cut(String message) {
        byte[] bytes = message.getBytes(UTF_8);
        if (bytes.length <= ProtocolLimits.FAILURE_MESSAGE_BYTES) {
            return new String(bytes, UTF_8);
        }
        int end = ProtocolLimits.FAILURE_MESSAGE_BYTES;
        while ((bytes[end] & 0xC0) == 0x80) {
            end--;
        }
        return ByteString.copyFrom(bytes, 0, end).toStringUtf8();
    }
}
