package meshloom.foreign.work;

import static meshloom.foreign.batch.Columns.u32;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import meshloom.foreign.batch.ExtensionValue;
import meshloom.v1.Process.EventFailure;
import meshloom.v1.Process.Outputs;
import meshloom.v1.Process.WorkResult;
import org.junit.jupiter.api.Test;

class ResultPartsTest {
    @Test
    void unchangedEventsHaveNothingButTheirParents() {
        List<Outputs> parts = parts(List.of(new Row(1, Output.UNCHANGED), new Row(4, Output.UNCHANGED)), false);

        assertEquals(List.of(Outputs.newBuilder().setCount(2).setParent(u32(1, 4)).build()), parts);
    }

    @Test
    void anInputWithAndWithoutPayloadGoesOnInTheNextResult() {
        List<Outputs> parts = parts(List.of(
                new Row(0, Output.UNCHANGED), new Row(0, payload(3)), new Row(1, payload(4)), new Row(2, Output.UNCHANGED)), false);

        assertEquals(3, parts.size());
        assertTrue(parts.get(0).getContinued());
        assertFalse(parts.get(0).hasPayload());
        assertFalse(parts.get(1).getContinued(), "input 1 ends with its result");
        assertEquals(u32(0, 1), parts.get(1).getParent());
        assertEquals(u32(3, 7), parts.get(1).getPayload().getEnds());
        assertFalse(parts.get(2).hasPayload());
    }

    @Test
    void aPartHasAMebibyteAndOneOutputMore() {
        List<Outputs> parts = parts(IntStream.range(0, 5).mapToObj(i -> new Row(7, payload(600_000))).toList(), true);

        assertEquals(List.of(2, 2, 1), parts.stream().map(Outputs::getCount).toList());
        assertTrue(parts.stream().allMatch(Outputs::getContinued), "the last one too, as more follows");
    }

    @Test
    void aPartHasAtMost65536Outputs() {
        List<Outputs> parts = parts(
                IntStream.range(0, 65_537).mapToObj(i -> new Row(i / 2, Output.UNCHANGED)).toList(), false);

        assertEquals(List.of(65_536, 1), parts.stream().map(Outputs::getCount).toList());
    }

    @Test
    void parentsNeverFallWithinAPart() {
        List<Outputs> parts = parts(List.of(new Row(2, payload(1)), new Row(1, payload(1))), false);

        assertEquals(List.of(u32(2), u32(1)), parts.stream().map(Outputs::getParent).toList());
    }

    @Test
    void aPartHasAtMost64ExtensionColumns() {
        List<Row> rows = IntStream.range(0, 65).mapToObj(i -> new Row(i, extension("x" + i))).toList();

        assertEquals(List.of(64, 1), parts(rows, false).stream().map(Outputs::getExtensionsCount).toList());
    }

    @Test
    void aTextThatSomeOutputsSetIsIndexed() {
        Outputs outputs = parts(List.of(
                new Row(0, type("a")), new Row(1, Output.UNCHANGED), new Row(2, type("")), new Row(3, type("a"))), false).get(0);

        assertEquals(u32(0, -1, 1, 0), outputs.getType().getIndex());
        assertEquals(u32(1, 1), outputs.getType().getValues().getEnds());
    }

    @Test
    void failuresAreSplitToo() {
        EventFailure failure = Failure.reject("R", "x".repeat(5000)).ofInput(3);
        assertEquals(4096, failure.getMessage().length());

        List<WorkResult.Builder> results = ResultParts.ofFailures(9, Collections.nCopies(300, failure));

        assertEquals(2, results.size());
        assertEquals(300, results.stream().mapToInt(WorkResult.Builder::getFailuresCount).sum());
    }

    @Test
    void aMessageIsCutBetweenCharacters() {
        String message = Failure.retry("R", "x" + "ä".repeat(4000)).ofInput(0).getMessage();

        assertEquals("x" + "ä".repeat(2047), message);
    }

    private static List<Outputs> parts(List<Row> rows, boolean goesOn) {
        List<Outputs> parts = new ArrayList<>();
        ResultParts.ofRows(1, rows, goesOn).forEach(result -> parts.add(result.getOutputs()));
        return parts;
    }

    private static Output payload(int size) {
        return new Output(ByteString.copyFrom(new byte[size]), null, null, null, null, Output.TIME_OF_PARENT, null, null, null,
                Map.of());
    }

    private static Output type(String type) {
        return new Output(null, null, type, null, null, Output.TIME_OF_PARENT, null, null, null, Map.of());
    }

    private static Output extension(String name) {
        return new Output(null, null, null, null, null, Output.TIME_OF_PARENT, null, null, null,
                Map.of(name, Optional.of(ExtensionValue.ofInteger(1))));
    }
}
