package meshloom.foreign.work;

import io.grpc.StatusRuntimeException;
import io.grpc.stub.ServerCallStreamObserver;
import meshloom.v1.Process.ProcessResponse;

/**
 * The way back of one stream. Its monitor guards all that the stream and its works hold; whoever waits on it is told when
 * the transport has room, when an input is closed, and when the stream ends.
 */
final class Responses {
    private final ServerCallStreamObserver<ProcessResponse> observer;
    private boolean ended;

    Responses(ServerCallStreamObserver<ProcessResponse> observer) {
        this.observer = observer;
        observer.setOnReadyHandler(this::wakeWaiting);
    }

    synchronized void wakeWaiting() {
        notifyAll();
    }

    synchronized boolean hasRoom() {
        return observer.isReady();
    }

    synchronized boolean ended() {
        return ended;
    }

    synchronized void send(ProcessResponse response) {
        if (!ended) {
            observer.onNext(response);
        }
    }

    /** Ends the stream OK. */
    synchronized void complete() {
        if (end()) {
            observer.onCompleted();
        }
    }

    synchronized void refuse(StatusRuntimeException status) {
        if (end()) {
            observer.onError(status);
        }
    }

    /** The stream has broken: nothing is sent any more (W20). */
    synchronized void broken() {
        end();
    }

    private boolean end() {
        boolean first = !ended;
        ended = true;
        notifyAll();
        return first;
    }
}
