package meshloom.foreign;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import meshloom.foreign.work.ProcessStream;

/** The open streams, and their end on SIGTERM (T8). */
final class Drain {
    private final Set<ProcessStream> streams = new HashSet<>();
    private boolean draining;

    /** Takes a stream; false: the node drains and takes none. */
    synchronized boolean enter(ProcessStream stream) {
        if (!draining) {
            streams.add(stream);
        }
        return !draining;
    }

    synchronized void leave(ProcessStream stream) {
        streams.remove(stream);
        notifyAll();
    }

    synchronized boolean isDraining() {
        return draining;
    }

    /** Lets no stream in any more and waits until those that are open have answered their works and ended. */
    void drain() throws InterruptedException {
        List<ProcessStream> open;
        synchronized (this) {
            draining = true;
            open = List.copyOf(streams);
        }
        // Without the lock: a stream that ends calls `leave`.
        open.forEach(ProcessStream::drain);
        synchronized (this) {
            while (!streams.isEmpty()) {
                wait();
            }
        }
    }
}
