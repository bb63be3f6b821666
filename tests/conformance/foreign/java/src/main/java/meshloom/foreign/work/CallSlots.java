package meshloom.foreign.work;

import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.Executor;

/** Runs the calls of one stream, so many at a time (O9), in the order in which they were given. */
final class CallSlots {
    private final Executor executor;
    private final Queue<Runnable> waiting = new ArrayDeque<>();
    private int free;

    CallSlots(Executor executor, int slots) {
        this.executor = executor;
        this.free = slots;
    }

    synchronized void submit(Runnable task) {
        waiting.add(task);
        if (free > 0) {
            free--;
            executor.execute(this::runWaiting);
        }
    }

    private void runWaiting() {
        for (Runnable task = next(); task != null; task = next()) {
            task.run();
        }
    }

    private synchronized Runnable next() {
        Runnable task = waiting.poll();
        if (task == null) {
            free++;
        }
        return task;
    }
}
