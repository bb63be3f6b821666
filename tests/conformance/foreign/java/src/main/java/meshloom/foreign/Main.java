package meshloom.foreign;

import java.io.IOException;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.Logger;
import meshloom.foreign.interpreter.Interpreter;
import meshloom.foreign.work.Handler;
import meshloom.foreign.work.Opening;

/** The interpreter node, level core; it listens where MESHLOOM_LISTEN says. */
public final class Main {
    private static final int CANNOT_LISTEN = 1;

    /** Kept, as the log manager holds loggers weakly. */
    private static final Logger NETTY_BOOTSTRAP = Logger.getLogger("io.grpc.netty.shaded.io.netty.bootstrap");

    private Main() {}

    public static void main(String[] args) throws InterruptedException {
        // grpc-java sets SO_KEEPALIVE, and Netty warns on every connection that Unix sockets have none.
        NETTY_BOOTSTRAP.setLevel(Level.SEVERE);
        NodeServer server;
        try {
            server = start();
        } catch (IllegalArgumentException | IOException problem) {
            System.err.println("interpreter: " + problem.getMessage());
            System.exit(CANNOT_LISTEN);
            return;
        }
        System.err.println("interpreter: listening on " + server.listening());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> drainAndExit(server), "drain"));
        server.awaitTermination();
        // The server ends only in the hook, which ends the process.
        Thread.currentThread().join();
    }

    private static NodeServer start() throws IOException {
        ListenAddress address = ListenAddress.parse(System.getenv("MESHLOOM_LISTEN"));
        // T9: handlers have threads of their own, so that one that blocks holds up nothing else.
        ExecutorService calls = Executors.newCachedThreadPool(daemons("call"));
        // T9, W15: no handler runs on it.
        ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1, daemons("timer"));
        timer.setRemoveOnCancelPolicy(true);
        Map<String, Handler> handlers = new Interpreter().handlers();
        Drain drain = new Drain();
        NodeService service = new NodeService(handlers, new Opening(handlers, calls), drain, timer);
        return NodeServer.start(address, "1".equals(System.getenv("MESHLOOM_INSECURE")), service, drain);
    }

    /** On SIGTERM or SIGINT. The JVM would exit with 128 and the signal's number; T8 asks for 0. */
    private static void drainAndExit(NodeServer server) {
        try {
            server.drain();
            Runtime.getRuntime().halt(0);
        } catch (InterruptedException | IOException problem) {
            System.err.println("interpreter: the drain failed: " + problem);
            Runtime.getRuntime().halt(1);
        }
    }

    private static ThreadFactory daemons(String name) {
        AtomicInteger number = new AtomicInteger();
        return task -> {
            Thread thread = new Thread(task, name + "-" + number.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }
}
