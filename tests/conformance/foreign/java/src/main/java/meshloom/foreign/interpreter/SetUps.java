package meshloom.foreign.interpreter;

import com.google.rpc.Code;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import meshloom.foreign.Reason;
import meshloom.foreign.Refusal;
import meshloom.foreign.Refusal.Violation;

/** Runs set-up once per handler and distinct config; streams that open meanwhile wait for it and share its result (O5). */
final class SetUps {
    private record Key(String handler, Config config) {}

    private final Report report;
    private final Map<Key, FutureTask<Void>> made = new ConcurrentHashMap<>();
    private final Set<Key> failedOnce = new HashSet<>();

    SetUps(Report report) {
        this.report = report;
    }

    /** @throws io.grpc.StatusRuntimeException if set-up refuses the config or fails (O4, O6) */
    void ensure(String handler, Config config) {
        Key key = new Key(handler, config);
        FutureTask<Void> mine = new FutureTask<>(() -> setUp(key), null);
        FutureTask<Void> earlier = made.putIfAbsent(key, mine);
        FutureTask<Void> task = earlier == null ? mine : earlier;
        if (task == mine) {
            task.run();
        }
        try {
            task.get();
        } catch (ExecutionException failed) {
            made.remove(key, task); // O6: the next open runs it again
            throw (RuntimeException) failed.getCause();
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException("nothing interrupts the thread of a request", interrupted);
        }
    }

    private void setUp(Key key) {
        report.setUpBegins();
        switch (key.config().setup()) {
            case SUCCEED -> { }
            case REFUSE -> throw Config.refused(List.of(new Violation("setup", "set-up refuses it")));
            case FAIL -> throw failed();
            case FAIL_ONCE -> {
                if (isFirst(key)) {
                    throw failed();
                }
            }
        }
    }

    private boolean isFirst(Key key) {
        synchronized (failedOnce) {
            return failedOnce.add(key);
        }
    }

    private static RuntimeException failed() {
        return Refusal.of(Code.UNAVAILABLE, Reason.SETUP_FAILED, "set-up failed, as the config asks");
    }
}
