package meshloom.foreign;

import static org.junit.jupiter.api.Assertions.assertNotNull;

import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import meshloom.v1.BatchOuterClass.Batch;
import meshloom.v1.NodeServiceGrpc;
import meshloom.v1.Process.Cancel;
import meshloom.v1.Process.ProcessRequest;
import meshloom.v1.Process.ProcessResponse;
import meshloom.v1.Process.Work;
import meshloom.v1.Process.WorkResult;

/** One Process stream, seen from the other side. */
final class Coordinator implements StreamObserver<ProcessResponse> {
    private final BlockingQueue<ProcessResponse> responses = new LinkedBlockingQueue<>();
    private final CompletableFuture<Status> end = new CompletableFuture<>();
    final StreamObserver<ProcessRequest> requests;

    Coordinator(Channel channel) {
        requests = NodeServiceGrpc.newStub(channel).process(this);
    }

    void send(long sequence, Batch.Builder batch) {
        requests.onNext(ProcessRequest.newBuilder()
                .setWork(Work.newBuilder().setSequence(sequence).setBatch(batch))
                .build());
    }

    void cancel(long sequence) {
        requests.onNext(ProcessRequest.newBuilder().setCancel(Cancel.newBuilder().setSequence(sequence)).build());
    }

    List<WorkResult> work(long sequence, Batch.Builder batch) throws InterruptedException {
        send(sequence, batch);
        return results(sequence);
    }

    /** The results of a work, up to its last. */
    List<WorkResult> results(long sequence) throws InterruptedException {
        List<WorkResult> results = new ArrayList<>();
        do {
            results.add(next(response -> response.getResult().getSequence() == sequence).getResult());
        } while (!results.get(results.size() - 1).getLast());
        return results;
    }

    ProcessResponse next(Predicate<ProcessResponse> wanted) throws InterruptedException {
        ProcessResponse response;
        do {
            response = responses.poll(ProcessTest.PATIENCE_SECONDS, TimeUnit.SECONDS);
            assertNotNull(response, "the node says nothing any more");
        } while (!wanted.test(response));
        return response;
    }

    Status ended() throws Exception {
        return end.get(ProcessTest.PATIENCE_SECONDS, TimeUnit.SECONDS);
    }

    @Override
    public void onNext(ProcessResponse response) {
        responses.add(response);
    }

    @Override
    public void onError(Throwable cause) {
        end.complete(Status.fromThrowable(cause).withCause(cause));
    }

    @Override
    public void onCompleted() {
        end.complete(Status.OK);
    }
}
