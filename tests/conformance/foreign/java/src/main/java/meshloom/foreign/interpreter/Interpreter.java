package meshloom.foreign.interpreter;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import meshloom.foreign.work.Handler;
import meshloom.v1.Node.HandlerRole;
import meshloom.v1.Session.Limits;

/** The handlers of level core. */
public final class Interpreter {
    private static final List<String> ROUTES = List.of("left", "right");
    private static final Limits NARROW = Limits.newBuilder()
            .setMaxInFlightWorks(2)
            .setMaxBatchEvents(8)
            .setMaxBatchBytes(65_536)
            .build();

    private final Report report = new Report();
    private final SetUps setUps = new SetUps(report);

    /** All handlers by name, in the order in which Describe tells them. */
    public Map<String, Handler> handlers() {
        Map<String, Handler> handlers = new LinkedHashMap<>();
        for (Handler handler : List.of(
                handler("map", HandlerRole.HANDLER_ROLE_MAP, ROUTES, Handler.DEFAULT_LIMITS),
                handler("filter", HandlerRole.HANDLER_ROLE_FILTER, List.of(), Handler.DEFAULT_LIMITS),
                handler("flat_map", HandlerRole.HANDLER_ROLE_FLAT_MAP, ROUTES, Handler.DEFAULT_LIMITS),
                handler("narrow", HandlerRole.HANDLER_ROLE_MAP, ROUTES, NARROW))) {
            handlers.put(handler.name(), handler);
        }
        return handlers;
    }

    private Handler handler(String name, HandlerRole role, List<String> routes, Limits limits) {
        return new Handler(name, role, routes, limits, configJson -> {
            Config config = Config.parse(configJson);
            setUps.ensure(name, config);
            return new Commands(role, config, report);
        });
    }
}
