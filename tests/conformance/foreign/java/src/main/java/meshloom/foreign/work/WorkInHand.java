package meshloom.foreign.work;

import com.google.protobuf.util.Durations;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import meshloom.foreign.Reason;
import meshloom.foreign.batch.Event;
import meshloom.foreign.batch.EventBatch;
import meshloom.v1.Process.EventFailure;
import meshloom.v1.Process.ProcessResponse;
import meshloom.v1.Process.WorkResult;

/**
 * A work from its arrival to its `last`. The monitor of the stream's {@link Responses} guards it; handlers are called
 * outside of it.
 */
final class WorkInHand {
    /** How long what has been gathered waits for more, while other inputs are still open. */
    private static final long GATHER_MILLIS = 5;

    /** The outputs that close one input. */
    private record Closing(int input, List<Row> rows) {
        boolean hasPayload() {
            return rows.stream().anyMatch(row -> row.output().payload() != null);
        }
    }

    private final long sequence;
    private final EventBatch batch;
    private final Long timeoutNanos;
    private final Session session;
    private final Responses responses;
    private final ScheduledExecutorService timer;
    private final Runnable whenDone;

    private final Accounting accounting;
    private final Set<Call> running = new LinkedHashSet<>();
    private final List<Closing> closings = new ArrayList<>();
    private final List<EventFailure> failures = new ArrayList<>();
    private int gatheredBytes;
    private boolean flushIsDue;
    private long busyNanos;
    /** The call whose outputs go on in the next result; until it has ended nothing else of the work is sent (W3). */
    private Call continuing;

    /**
     * @param timeoutNanos time for one call; null: no limit
     * @param whenDone is run once `last` has been sent
     */
    WorkInHand(long sequence, EventBatch batch, Long timeoutNanos, Session session, Responses responses,
            ScheduledExecutorService timer, Runnable whenDone) {
        this.sequence = sequence;
        this.batch = batch;
        this.timeoutNanos = timeoutNanos;
        this.session = session;
        this.responses = responses;
        this.timer = timer;
        this.whenDone = whenDone;
        this.accounting = new Accounting(batch.count());
    }

    void start() {
        for (int[] chain : Chains.of(batch, session.ordering())) {
            session.slots().submit(() -> runChain(chain));
        }
    }

    long sequence() {
        return sequence;
    }

    /** The calls that are running, oldest first. */
    Collection<Call> running() {
        return running;
    }

    /** Takes the work back (W14). */
    void cancel() {
        for (Call call : running) {
            if (accounting.isOpen(call.input())) {
                busyNanos += call.elapsedNanos();
                fail(call.input(), call.isOverTime() ? overTime() : takenBack());
            }
        }
        cancelCalls();
        accounting.forEachOpen(input -> fail(input, takenBack()));
        continuing = null;
        finish();
    }

    /** Cancels the handlers of a work that nobody waits for any more (W20). */
    void cancelCalls() {
        running.forEach(Call::cancel);
        responses.wakeWaiting();
    }

    /** Sends what a call has gathered while it goes on (W17). Called on the handler's thread. */
    void sendHeld(Call call) throws InterruptedException {
        synchronized (responses) {
            while (isWanted(call) && ((continuing != null && continuing != call) || !responses.hasRoom())) {
                responses.wait();
            }
            if (!isWanted(call)) {
                throw new CancellationException("the call is over");
            }
            if (continuing == null) {
                flush();
                continuing = call;
            }
            ResultParts.ofRows(sequence, call.held(), true).forEach(this::send);
        }
    }

    private boolean isWanted(Call call) {
        return !responses.ended() && accounting.isOpen(call.input());
    }

    private void runChain(int[] chain) {
        for (int position = 0; position < chain.length; position++) {
            Call call = begin(chain, position);
            if (call == null) {
                continue;
            }
            Failure failure = null;
            try {
                session.body().handle(call);
            } catch (Failure asked) {
                failure = asked;
            } catch (Throwable thrown) {
                // W8: whatever it is, it concerns this event alone.
                failure = Failure.ofThrown(thrown);
            }
            end(call, failure, chain, position);
        }
    }

    /** Begins the call for an input; null: it has been closed, or its stream has ended, before. */
    private Call begin(int[] chain, int position) {
        int input = chain[position];
        Event event = batch.event(input);
        synchronized (responses) {
            if (responses.ended() || !accounting.isOpen(input)) {
                return null;
            }
            Call call = new Call(this, session, input, event, timeoutNanos);
            running.add(call);
            if (timeoutNanos != null) {
                call.setTimer(timer.schedule(() -> timeOut(call, chain, position), timeoutNanos, TimeUnit.NANOSECONDS));
            }
            return call;
        }
    }

    private void timeOut(Call call, int[] chain, int position) {
        synchronized (responses) {
            if (!isWanted(call) || !running.contains(call)) {
                return;
            }
            call.cancel(); // W13
            close(call, overTime(), chain, position);
        }
    }

    private void end(Call call, Failure failure, int[] chain, int position) {
        synchronized (responses) {
            running.remove(call);
            call.stopTimer();
            if (isWanted(call)) {
                close(call, call.isOverTime() ? overTime() : failure, chain, position);
            }
        }
    }

    /** Closes the input of a call by a failure, or, where that is null, by what it gave. */
    private void close(Call call, Failure failure, int[] chain, int position) {
        busyNanos += call.elapsedNanos(); // W18
        if (failure != null) {
            fail(call.input(), failure);
            if (failure.isRetry()) {
                holdBehind(chain, position);
            }
        } else if (call.held().isEmpty()) {
            accounting.consume(call.input());
        } else {
            accounting.close(call.input());
            gather(call);
        }
        if (continuing == call) {
            continuing = null;
        }
        responses.wakeWaiting();
        if (accounting.allClosed()) {
            finish();
        } else if (gatheredBytes >= ResultParts.GATHERED_BYTES) {
            flush();
        } else {
            flushSoon();
        }
    }

    private void gather(Call call) {
        if (continuing == call) {
            // Its outputs go on here and nowhere else: they are what the next result begins with.
            ResultParts.ofRows(sequence, call.held(), false).forEach(this::send);
        } else {
            closings.add(new Closing(call.input(), List.copyOf(call.held())));
            gatheredBytes += call.heldBytes();
        }
    }

    private void fail(int input, Failure failure) {
        accounting.close(input);
        EventFailure encoded = failure.ofInput(input);
        failures.add(encoded);
        gatheredBytes += encoded.getSerializedSize();
    }

    /** K2: behind an event that is tried again the later ones of its chain are held back without a call. */
    private void holdBehind(int[] chain, int position) {
        for (int later = position + 1; later < chain.length; later++) {
            if (accounting.isOpen(chain[later])) {
                fail(chain[later], Failure.retry(Reason.KEY_HELD, "event " + chain[position] + " of the work goes first"));
            }
        }
    }

    private void flushSoon() {
        if (flushIsDue) {
            return;
        }
        flushIsDue = true;
        timer.schedule(() -> {
            synchronized (responses) {
                flushIsDue = false;
                flush();
            }
        }, GATHER_MILLIS, TimeUnit.MILLISECONDS);
    }

    private void flush() {
        if (continuing == null && !accounting.allClosed()) {
            takeGathered().forEach(this::send);
        }
    }

    private void finish() {
        List<WorkResult.Builder> results = takeGathered();
        if (results.isEmpty()) {
            results.add(WorkResult.newBuilder().setSequence(sequence));
        }
        results.get(results.size() - 1)
                .setLast(true)
                .setConsumed(accounting.consumed())
                .setBusy(Durations.fromNanos(busyNanos));
        results.forEach(this::send);
        whenDone.run();
    }

    private List<WorkResult.Builder> takeGathered() {
        closings.sort(Comparator.comparing(Closing::hasPayload).thenComparing(Closing::input));
        List<Row> rows = closings.stream().flatMap(closing -> closing.rows().stream()).toList();
        List<WorkResult.Builder> results = new ArrayList<>(ResultParts.ofRows(sequence, rows, false));
        results.addAll(ResultParts.ofFailures(sequence, failures));
        closings.clear();
        failures.clear();
        gatheredBytes = 0;
        return results;
    }

    private void send(WorkResult.Builder result) {
        responses.send(ProcessResponse.newBuilder().setResult(result).build());
    }

    private static Failure overTime() {
        return Failure.retry(Reason.TIMEOUT, "the call was longer than the node's timeout");
    }

    private static Failure takenBack() {
        return Failure.retry(Reason.CANCELLED, "the work was taken back");
    }
}
