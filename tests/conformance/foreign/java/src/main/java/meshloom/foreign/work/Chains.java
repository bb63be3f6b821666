package meshloom.foreign.work;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import meshloom.foreign.batch.EventBatch;
import meshloom.v1.Process.Ordering;

/** Which inputs of a work are handled one after the other: each chain in its order, chains beside each other. */
final class Chains {
    private Chains() {}

    static List<int[]> of(EventBatch batch, Ordering ordering) {
        return switch (ordering) {
            case ORDERING_KEY -> byKey(batch); // K1
            case ORDERING_ALL -> List.of(IntStream.range(0, batch.count()).toArray()); // K3
            // V3: an unknown ordering is as NONE.
            case ORDERING_NONE, ORDERING_UNSPECIFIED, UNRECOGNIZED ->
                    IntStream.range(0, batch.count()).mapToObj(input -> new int[] {input}).toList();
        };
    }

    private static List<int[]> byKey(EventBatch batch) {
        List<List<Integer>> chains = new ArrayList<>();
        Map<String, List<Integer>> ofKey = new LinkedHashMap<>();
        for (int input = 0; input < batch.count(); input++) {
            String key = batch.key(input);
            List<Integer> chain = key == null ? null : ofKey.get(key);
            if (chain == null) {
                chain = new ArrayList<>();
                chains.add(chain);
                if (key != null) {
                    ofKey.put(key, chain);
                }
            }
            chain.add(input);
        }
        return chains.stream().map(chain -> chain.stream().mapToInt(Integer::intValue).toArray()).toList();
    }
}
