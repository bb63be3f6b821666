package meshloom.foreign.work;

import com.google.rpc.Code;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import meshloom.foreign.Reason;
import meshloom.foreign.Refusal;
import meshloom.foreign.Refusal.Violation;
import meshloom.v1.Node.HandlerRole;
import meshloom.v1.Process.OpenProcess;
import meshloom.v1.Process.Ordering;
import meshloom.v1.Produce.OpenProduce;
import meshloom.v1.Session.ProtocolRange;

/** What an open request must be: the section "Open". Each check throws the status that ends the stream. */
public final class Opening {
    /** The versions that this node speaks. */
    public static final ProtocolRange PROTOCOL = ProtocolRange.newBuilder().setMin(1).setMax(1).build();

    private static final int DEFAULT_CONCURRENCY = 16;
    /** Each call takes a thread. */
    private static final int MOST_CONCURRENCY = 256;

    private final Map<String, Handler> handlers;
    private final Executor executor;

    /**
     * @param handlers by name
     * @param executor runs the calls
     */
    public Opening(Map<String, Handler> handlers, Executor executor) {
        this.handlers = handlers;
        this.executor = executor;
    }

    /** The highest version in both ranges (O2). */
    static int negotiate(boolean present, ProtocolRange theirs) {
        // u32, so compared without sign.
        if (!present || theirs.getMin() == 0 || Integer.compareUnsigned(theirs.getMax(), theirs.getMin()) < 0) {
            throw Refusal.badRequest("open has no valid protocol range", List.of(
                    new Violation("protocol", "must be a range with `min` of at least 1 and `max` of at least `min`")));
        }
        if (Integer.compareUnsigned(theirs.getMin(), PROTOCOL.getMax()) > 0) {
            throw unsupported("node", theirs.getMin());
        }
        if (Integer.compareUnsigned(theirs.getMax(), PROTOCOL.getMin()) < 0) {
            throw unsupported("coordinator", PROTOCOL.getMin());
        }
        return Integer.compareUnsigned(theirs.getMax(), PROTOCOL.getMax()) < 0 ? theirs.getMax() : PROTOCOL.getMax();
    }

    /** Opens a handler for Process; returns once its set-up for this config has been made. */
    Session open(OpenProcess open) {
        Handler handler = pick(open.getHandler());
        if (handler.role() == HandlerRole.HANDLER_ROLE_SOURCE) {
            throw Refusal.of(Code.FAILED_PRECONDITION, Reason.HANDLER_ROLE_MISMATCH,
                    "`" + handler.name() + "` is a source; open it with Produce");
        }
        Handler.Body body = handler.factory().open(open.getConfigJson());
        return new Session(open.getPipeline(), open.getNode(), open.getReplica().getIndex(), handler, body,
                open.getOrdering(), new CallSlots(executor, slots(open)));
    }

    /** This node has no source, so each valid open of Produce is refused. */
    public RuntimeException refuseSource(OpenProduce open) {
        negotiate(open.hasProtocol(), open.getProtocol());
        Handler handler = pick(open.getHandler());
        return Refusal.of(Code.FAILED_PRECONDITION, Reason.HANDLER_ROLE_MISMATCH,
                "`" + handler.name() + "` is no source, but " + handler.role() + "; open it with Process");
    }

    private Handler pick(String name) { // O3
        if (name.isEmpty() && handlers.size() == 1) {
            return handlers.values().iterator().next();
        }
        Handler handler = handlers.get(name);
        if (handler == null) {
            throw Refusal.of(Code.NOT_FOUND, Reason.HANDLER_UNKNOWN,
                    (name.isEmpty() ? "open names no handler" : "there is no handler `" + Refusal.brief(name) + "`") + "; there are: "
                            + String.join(", ", handlers.keySet()));
        }
        return handler;
    }

    private static int slots(OpenProcess open) { // O9
        if (open.getOrdering() == Ordering.ORDERING_ALL) {
            return 1;
        }
        long asked = Integer.toUnsignedLong(open.getConcurrency());
        return asked == 0 ? DEFAULT_CONCURRENCY : (int) Math.min(asked, MOST_CONCURRENCY);
    }

    private static RuntimeException unsupported(String upgrade, int to) {
        String version = Integer.toUnsignedString(to);
        return Refusal.of(Code.FAILED_PRECONDITION, Reason.PROTOCOL_UNSUPPORTED,
                "no protocol in common: the " + upgrade + " must speak " + version + " or later",
                Map.of("upgrade", upgrade, "to", version));
    }
}
