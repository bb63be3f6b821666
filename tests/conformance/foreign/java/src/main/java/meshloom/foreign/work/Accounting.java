package meshloom.foreign.work;

import java.util.BitSet;
import java.util.function.IntConsumer;

/** The books of a work: every input is closed exactly once, by outputs, by a failure, or consumed (W2). */
final class Accounting {
    private final BitSet open;
    private int consumed;

    Accounting(int count) {
        open = new BitSet(count);
        open.set(0, count);
    }

    boolean isOpen(int input) {
        return open.get(input);
    }

    /** Closes an input by its outputs or a failure. */
    void close(int input) {
        if (!open.get(input)) {
            throw new IllegalStateException("input " + input + " is closed already");
        }
        open.clear(input);
    }

    /** Closes an input that ended with no output on purpose. */
    void consume(int input) {
        close(input);
        consumed++;
    }

    /** How many inputs were consumed, over the whole work. */
    int consumed() {
        return consumed;
    }

    boolean allClosed() {
        return open.isEmpty();
    }

    /** Calls for each open input, in order; the action may close it. */
    void forEachOpen(IntConsumer action) {
        for (int input = open.nextSetBit(0); input >= 0; input = open.nextSetBit(input + 1)) {
            action.accept(input);
        }
    }
}
