package meshloom.foreign.work;

import com.google.protobuf.ByteString;
import java.util.List;
import meshloom.foreign.ProtocolLimits;
import meshloom.v1.Node.HandlerRole;
import meshloom.v1.Session.Limits;

/**
 * A handler of the process: what Describe says of it, and what it does with an event.
 *
 * @param routes those that its outputs may name
 * @param limits those that it opens with
 */
public record Handler(String name, HandlerRole role, List<String> routes, Limits limits, Factory factory) {

    /** Eight of the largest batches bound the memory that a stream takes. */
    public static final Limits DEFAULT_LIMITS = Limits.newBuilder()
            .setMaxInFlightWorks(8)
            .setMaxBatchEvents(ProtocolLimits.BATCH_EVENTS)
            .setMaxBatchBytes(ProtocolLimits.BATCH_BYTES)
            .build();

    /** Makes a handler ready for a config. */
    @FunctionalInterface
    public interface Factory {
        /**
         * Returns once the set-up for this config has been made.
         *
         * @param configJson as `config_json` of an open request
         * @throws io.grpc.StatusRuntimeException as O4 and O6 say
         */
        Body open(ByteString configJson);
    }

    /** What a handler does with an event. */
    @FunctionalInterface
    public interface Body {
        /**
         * Handles an event. It is closed by what has been given to {@link Call#emit}; where that is nothing, it is consumed.
         *
         * @throws Failure to reject the event or have it tried again; whatever else is thrown has it tried again
         */
        void handle(Call call) throws Exception;
    }

    public meshloom.v1.Node.Handler describe() {
        return meshloom.v1.Node.Handler.newBuilder()
                .setName(name)
                .setRole(role)
                .addAllRoutes(routes)
                .setLimits(limits)
                .build();
    }
}
