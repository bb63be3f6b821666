package meshloom.foreign.work;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import meshloom.foreign.ProtocolLimits;
import meshloom.foreign.batch.ExtensionValue;
import meshloom.foreign.work.OutputColumns.ExtensionKey;
import meshloom.v1.Process.EventFailure;
import meshloom.v1.Process.Outputs;
import meshloom.v1.Process.WorkResult;

/**
 * Cuts outputs and failures of a work into results that the protocol allows (W3, W19): a new one begins where the size, the
 * number of outputs or of extension columns would be too much, where parents fall, and between outputs with a payload and
 * without one, for the payload column has no way to say "as the parent's" for one output.
 */
final class ResultParts {
    /** How much is gathered before it is sent (W17). */
    static final int GATHERED_BYTES = 1 << 20;

    private final long sequence;
    private final List<WorkResult.Builder> results = new ArrayList<>();
    private final List<Row> rows = new ArrayList<>();
    private final Set<ExtensionKey> extensions = new HashSet<>();
    private int bytes;

    private ResultParts(long sequence) {
        this.sequence = sequence;
    }

    /**
     * The results for rows, of which those of one parent stand together.
     *
     * @param goesOn whether more of the last row's parent follows in the next result of the work
     */
    static List<WorkResult.Builder> ofRows(long sequence, List<Row> rows, boolean goesOn) {
        ResultParts parts = new ResultParts(sequence);
        rows.forEach(parts::add);
        parts.finish(goesOn);
        return parts.results;
    }

    static List<WorkResult.Builder> ofFailures(long sequence, List<EventFailure> failures) {
        List<WorkResult.Builder> results = new ArrayList<>();
        int bytes = GATHERED_BYTES;
        for (EventFailure failure : failures) {
            if (bytes >= GATHERED_BYTES) {
                results.add(WorkResult.newBuilder().setSequence(sequence));
                bytes = 0;
            }
            results.get(results.size() - 1).addFailures(failure);
            bytes += failure.getSerializedSize();
        }
        return results;
    }

    private void add(Row row) {
        if (!rows.isEmpty() && !fits(row)) {
            finish(last().parent() == row.parent());
        }
        rows.add(row);
        bytes += row.output().size();
        extensions.addAll(keys(row));
    }

    private boolean fits(Row row) {
        if (rows.size() == ProtocolLimits.RESULT_OUTPUTS
                || bytes >= GATHERED_BYTES
                || row.parent() < last().parent()
                || (row.output().payload() == null) != (last().output().payload() == null)) {
            return false;
        }
        Set<ExtensionKey> more = keys(row);
        more.removeAll(extensions);
        return extensions.size() + more.size() <= ProtocolLimits.EXTENSIONS;
    }

    private void finish(boolean continued) {
        if (rows.isEmpty()) {
            return;
        }
        Outputs outputs = OutputColumns.encode(rows, continued);
        results.add(WorkResult.newBuilder().setSequence(sequence).setOutputs(outputs));
        rows.clear();
        extensions.clear();
        bytes = 0;
    }

    private Row last() {
        return rows.get(rows.size() - 1);
    }

    private static Set<ExtensionKey> keys(Row row) {
        Set<ExtensionKey> keys = new HashSet<>();
        for (Map.Entry<String, Optional<ExtensionValue>> extension : row.output().extensions().entrySet()) {
            keys.add(ExtensionKey.of(extension.getKey(), extension.getValue()));
        }
        return keys;
    }
}
