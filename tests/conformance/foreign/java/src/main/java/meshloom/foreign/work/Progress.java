package meshloom.foreign.work;

import java.util.Collection;
import meshloom.foreign.ProtocolLimits;
import meshloom.v1.Process.ProcessResponse;

/** What is running, told every second while a work is in hand (W15). */
final class Progress {
    private record Running(long sequence, Call call) {}

    private Progress() {}

    static ProcessResponse of(Collection<WorkInHand> works) {
        meshloom.v1.Process.Progress.Builder progress = meshloom.v1.Process.Progress.newBuilder();
        // One time for all, or a call that began later could look older.
        long now = System.nanoTime();
        works.stream()
                .flatMap(work -> work.running().stream().map(call -> new Running(work.sequence(), call)))
                // By the difference, as nanoTime may overflow.
                .sorted((a, b) -> Long.signum(a.call().startedNanos() - b.call().startedNanos()))
                .limit(ProtocolLimits.PROGRESS_CALLS)
                .forEach(running -> progress.addCalls(running.call().describe(running.sequence(), now)));
        return ProcessResponse.newBuilder().setProgress(progress).build();
    }
}
