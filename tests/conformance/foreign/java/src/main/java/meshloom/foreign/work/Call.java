package meshloom.foreign.work;

import com.google.protobuf.util.Durations;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import meshloom.foreign.batch.Event;
import meshloom.v1.Process.HandlerCall;

/** One call of a handler for one event: what the handler is given, and what it gives back. */
public final class Call {
    private final WorkInHand work;
    private final Session session;
    private final int input;
    private final Event event;
    /** Time that it may take; null: as long as it likes. */
    private final Long timeoutNanos;
    private final long startedNanos = System.nanoTime();
    private final CountDownLatch cancelled = new CountDownLatch(1);
    private final List<Row> held = new ArrayList<>();
    private int heldBytes;
    private Future<?> timer;

    Call(WorkInHand work, Session session, int input, Event event, Long timeoutNanos) {
        this.work = work;
        this.session = session;
        this.input = input;
        this.event = event;
        this.timeoutNanos = timeoutNanos;
    }

    public Event event() {
        return event;
    }

    public String pipeline() {
        return session.pipeline();
    }

    public String node() {
        return session.node();
    }

    /** Which replica of the node this is, from 0. */
    public int replica() {
        return session.replica();
    }

    /** Milliseconds until the call is over its time; empty: it has no limit. */
    public OptionalLong remainingMillis() {
        return timeoutNanos == null
                ? OptionalLong.empty()
                : OptionalLong.of(Math.max(0, TimeUnit.NANOSECONDS.toMillis(timeoutNanos - elapsedNanos())));
    }

    /** Waits until the call is cancelled, or so long; returns whether it was cancelled. */
    public boolean awaitCancelled(long millis) throws InterruptedException {
        return cancelled.await(millis, TimeUnit.MILLISECONDS);
    }

    /**
     * Gives an output. Outputs are held until the call ends or 1 MiB of them has been gathered (W17); then this waits until
     * the transport has room for them.
     *
     * @throws Failure if the output cannot be sent (W19)
     * @throws java.util.concurrent.CancellationException if the call is over its time or taken back
     */
    public void emit(Output output) throws Failure, InterruptedException {
        output.check(event, session.handler().routes());
        if (heldBytes >= ResultParts.GATHERED_BYTES) {
            // One output at least stays behind, so that a later result always has one that ends `continued`.
            work.sendHeld(this);
            held.clear();
            heldBytes = 0;
        }
        held.add(new Row(input, output));
        heldBytes += output.size();
    }

    int input() {
        return input;
    }

    /** What has been given and not been sent. Read by the work once the call has ended, or in {@link #emit}. */
    List<Row> held() {
        return held;
    }

    int heldBytes() {
        return heldBytes;
    }

    void cancel() {
        cancelled.countDown();
    }

    void setTimer(Future<?> timer) {
        this.timer = timer;
    }

    void stopTimer() {
        if (timer != null) {
            timer.cancel(false);
        }
    }

    long startedNanos() {
        return startedNanos;
    }

    long elapsedNanos() {
        return System.nanoTime() - startedNanos;
    }

    boolean isOverTime() {
        return timeoutNanos != null && elapsedNanos() > timeoutNanos;
    }

    HandlerCall describe(long sequence, long nowNanos) {
        return HandlerCall.newBuilder()
                .setSequence(sequence)
                .setIndex(input)
                .setAge(Durations.fromNanos(nowNanos - startedNanos))
                .build();
    }
}
