package meshloom.foreign;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.Map;
import java.util.concurrent.ScheduledExecutorService;
import meshloom.foreign.work.Handler;
import meshloom.foreign.work.Opening;
import meshloom.foreign.work.ProcessStream;
import meshloom.v1.Node.DescribeRequest;
import meshloom.v1.Node.DescribeResponse;
import meshloom.v1.NodeServiceGrpc.NodeServiceImplBase;
import meshloom.v1.Process.ProcessRequest;
import meshloom.v1.Process.ProcessResponse;
import meshloom.v1.Produce.ProduceRequest;
import meshloom.v1.Produce.ProduceResponse;
import meshloom.v1.Session.Sdk;

/** The service of a node. */
final class NodeService extends NodeServiceImplBase {
    /** There is no SDK here: the language, and the version of this program. */
    private static final Sdk SDK = Sdk.newBuilder().setLanguage("java").setVersion("0.1.0").build();

    private final DescribeResponse description;
    private final Opening opening;
    private final Drain drain;
    private final ScheduledExecutorService timer;

    NodeService(Map<String, Handler> handlers, Opening opening, Drain drain, ScheduledExecutorService timer) {
        this.description = describe(handlers);
        this.opening = opening;
        this.drain = drain;
        this.timer = timer;
    }

    @Override
    public void describe(DescribeRequest request, StreamObserver<DescribeResponse> response) { // D1
        response.onNext(description);
        response.onCompleted();
    }

    @Override
    public StreamObserver<ProcessRequest> process(StreamObserver<ProcessResponse> response) {
        ProcessStream stream = new ProcessStream(
                (ServerCallStreamObserver<ProcessResponse>) response, opening, SDK, timer, drain::leave);
        if (!drain.enter(stream)) {
            response.onError(draining());
            return new Ignored<>();
        }
        return stream;
    }

    /** Every handler of this node is served by Process, so a Produce stream never gets beyond its open. */
    @Override
    public StreamObserver<ProduceRequest> produce(StreamObserver<ProduceResponse> response) {
        if (drain.isDraining()) {
            response.onError(draining());
            return new Ignored<>();
        }
        return new StreamObserver<>() {
            private boolean ended;

            @Override
            public void onNext(ProduceRequest request) {
                if (ended || request.getRequestCase() == ProduceRequest.RequestCase.REQUEST_NOT_SET) {
                    return;
                }
                ended = true;
                response.onError(refusal(request));
            }

            @Override
            public void onError(Throwable cause) {
                ended = true;
            }

            @Override
            public void onCompleted() {
                if (!ended) {
                    response.onCompleted();
                }
            }
        };
    }

    private RuntimeException refusal(ProduceRequest request) {
        if (!request.hasOpen()) {
            return Refusal.violation("the first request must be `open`");
        }
        try {
            return opening.refuseSource(request.getOpen());
        } catch (StatusRuntimeException earlier) {
            return earlier;
        }
    }

    private static DescribeResponse describe(Map<String, Handler> handlers) {
        DescribeResponse.Builder description = DescribeResponse.newBuilder().setSdk(SDK).setProtocol(Opening.PROTOCOL);
        handlers.values().forEach(handler -> description.addHandlers(handler.describe()));
        return description.build();
    }

    private static StatusRuntimeException draining() {
        return Status.UNAVAILABLE.withDescription("the node is draining").asRuntimeException();
    }

    /** What comes on a stream that has been refused. */
    private static final class Ignored<T> implements StreamObserver<T> {
        @Override
        public void onNext(T request) {}

        @Override
        public void onError(Throwable cause) {}

        @Override
        public void onCompleted() {}
    }
}
