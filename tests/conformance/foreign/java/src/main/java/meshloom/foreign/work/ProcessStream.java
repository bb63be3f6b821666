package meshloom.foreign.work;

import com.google.protobuf.Duration;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import meshloom.foreign.Reason;
import meshloom.foreign.Refusal;
import meshloom.foreign.batch.EventBatch;
import meshloom.foreign.batch.MalformedBatch;
import meshloom.v1.BatchOuterClass.Batch;
import meshloom.v1.Process.Cancel;
import meshloom.v1.Process.OpenProcess;
import meshloom.v1.Process.ProcessRequest;
import meshloom.v1.Process.ProcessResponse;
import meshloom.v1.Process.Work;
import meshloom.v1.Process.WorkResult;
import meshloom.v1.Session.Limits;
import meshloom.v1.Session.Opened;
import meshloom.v1.Session.Sdk;

/** One Process stream: requests in, and, through {@link Responses}, results out. */
public final class ProcessStream implements StreamObserver<ProcessRequest> {
    private static final long PROGRESS_MILLIS = 1000;
    /** A longer time for a call (146 years) is none. */
    private static final long MOST_TIMEOUT_SECONDS = Long.MAX_VALUE / 2_000_000_000L;

    private final Opening opening;
    private final Sdk sdk;
    private final ScheduledExecutorService timer;
    private final Responses responses;
    private final Map<Long, WorkInHand> works = new LinkedHashMap<>();
    private Session session;
    private Future<?> progress;
    /** No work is expected any more: the stream ends once what is in hand has been answered. */
    private boolean ending;

    /** @param whenGone is told when the stream has broken, or has ended and all that was sent is on its way */
    public ProcessStream(ServerCallStreamObserver<ProcessResponse> observer, Opening opening, Sdk sdk,
            ScheduledExecutorService timer, Consumer<ProcessStream> whenGone) {
        this.opening = opening;
        this.sdk = sdk;
        this.timer = timer;
        this.responses = new Responses(observer);
        // The one when all has been sent, the other when it cannot be.
        observer.setOnCloseHandler(() -> whenGone.accept(this));
        observer.setOnCancelHandler(() -> {
            broke();
            whenGone.accept(this);
        });
    }

    @Override
    public void onNext(ProcessRequest request) {
        if (responses.ended()) {
            return;
        }
        try {
            switch (request.getRequestCase()) {
                case OPEN -> open(request.getOpen());
                case WORK -> work(request.getWork());
                case CANCEL -> cancel(request.getCancel());
                case REQUEST_NOT_SET -> { } // V2: a member that this node does not know
            }
        } catch (StatusRuntimeException refusal) {
            refuse(refusal);
        }
    }

    @Override
    public void onError(Throwable cause) {
        broke();
    }

    /** W16: answers what it holds, then ends OK. */
    @Override
    public void onCompleted() {
        endWhenAnswered();
    }

    /** T8: the works in hand are answered, later ones are sent back, and the stream ends OK. */
    public void drain() {
        endWhenAnswered();
    }

    private void open(OpenProcess open) {
        if (session != null) {
            throw Refusal.violation("a second `open`; a stream is opened once");
        }
        int protocol = Opening.negotiate(open.hasProtocol(), open.getProtocol());
        Session opened = opening.open(open);
        synchronized (responses) {
            if (responses.ended()) {
                return;
            }
            session = opened;
            progress = timer.scheduleAtFixedRate(
                    this::tellProgress, PROGRESS_MILLIS, PROGRESS_MILLIS, TimeUnit.MILLISECONDS);
            responses.send(ProcessResponse.newBuilder()
                    .setOpened(Opened.newBuilder()
                            .setProtocol(protocol)
                            .setSdk(sdk)
                            .setLimits(opened.handler().limits()))
                    .build());
        }
    }

    private void work(Work work) {
        checkOpened("work");
        synchronized (responses) {
            if (works.containsKey(work.getSequence())) { // W1
                throw Refusal.violation("work " + Long.toUnsignedString(work.getSequence()) + " is in hand already");
            }
            Failure refusal = ending ? Failure.retry(Reason.CANCELLED, "the node is draining") : beyondLimits(work.getBatch());
            if (refusal != null) {
                failWhole(work, refusal);
                return;
            }
        }
        EventBatch batch;
        try {
            batch = EventBatch.read(work.getBatch(), work.getAttempts());
        } catch (MalformedBatch malformed) {
            failWhole(work, Failure.retry(malformed.reason(), malformed.getMessage())); // W11
            return;
        }
        synchronized (responses) {
            if (responses.ended()) {
                return;
            }
            Long timeout = work.hasTimeout() ? nanos(work.getTimeout()) : null;
            WorkInHand inHand = new WorkInHand(work.getSequence(), batch, timeout, session, responses, timer,
                    () -> done(work.getSequence()));
            works.put(work.getSequence(), inHand);
            inHand.start();
        }
    }

    /** L3; null: the work is within the limits. Nothing of the batch has been decoded yet (B10). */
    private Failure beyondLimits(Batch batch) {
        Limits limits = session.handler().limits();
        if (works.size() >= limits.getMaxInFlightWorks()) {
            return Failure.retry(Reason.LIMITS_EXCEEDED, "the limit is " + limits.getMaxInFlightWorks() + " works");
        }
        if (Integer.compareUnsigned(batch.getCount(), limits.getMaxBatchEvents()) > 0) {
            return Failure.retry(Reason.BATCH_TOO_LARGE, "the batch has " + Integer.toUnsignedLong(batch.getCount())
                    + " events; the limit is " + limits.getMaxBatchEvents());
        }
        if (batch.getSerializedSize() > limits.getMaxBatchBytes()) {
            return Failure.retry(Reason.BATCH_TOO_LARGE, "the batch has " + batch.getSerializedSize()
                    + " bytes; the limit is " + limits.getMaxBatchBytes());
        }
        return null;
    }

    private void failWhole(Work work, Failure failure) {
        responses.send(ProcessResponse.newBuilder()
                .setResult(WorkResult.newBuilder()
                        .setSequence(work.getSequence())
                        .addFailures(failure.ofWholeWork())
                        .setLast(true))
                .build());
    }

    private void cancel(Cancel cancel) {
        checkOpened("cancel");
        synchronized (responses) {
            WorkInHand work = works.get(cancel.getSequence());
            if (work != null) {
                work.cancel();
            }
        }
    }

    private void checkOpened(String request) { // O1
        if (session == null) {
            throw Refusal.violation("the first request is `" + request + "`; it must be `open`");
        }
    }

    private void done(long sequence) {
        works.remove(sequence);
        if (ending && works.isEmpty()) {
            responses.complete();
            ended();
        }
    }

    private void endWhenAnswered() {
        synchronized (responses) {
            ending = true;
            if (works.isEmpty()) {
                responses.complete();
                ended();
            }
        }
    }

    private void refuse(StatusRuntimeException status) {
        synchronized (responses) {
            responses.refuse(status);
            ended();
        }
    }

    private void broke() {
        synchronized (responses) {
            responses.broken();
            ended();
        }
    }

    private void ended() {
        List.copyOf(works.values()).forEach(WorkInHand::cancelCalls); // W20
        works.clear();
        if (progress != null) {
            progress.cancel(false);
        }
    }

    private void tellProgress() {
        synchronized (responses) {
            if (!works.isEmpty() && responses.hasRoom()) {
                responses.send(Progress.of(works.values()));
            }
        }
    }

    private static long nanos(Duration duration) {
        long seconds = Math.max(0, Math.min(duration.getSeconds(), MOST_TIMEOUT_SECONDS));
        return TimeUnit.SECONDS.toNanos(seconds) + Math.max(0, duration.getNanos());
    }
}
