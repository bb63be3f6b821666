package meshloom.foreign.batch;

import static meshloom.foreign.batch.Columns.batch;
import static meshloom.foreign.batch.Columns.i64;
import static meshloom.foreign.batch.Columns.indexed;
import static meshloom.foreign.batch.Columns.strings;
import static meshloom.foreign.batch.Columns.u32;
import static meshloom.foreign.batch.Columns.values;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import com.google.protobuf.ByteString;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import meshloom.v1.BatchOuterClass.Batch;
import meshloom.v1.BatchOuterClass.Extension;
import meshloom.v1.BatchOuterClass.ExtensionType;
import meshloom.v1.BatchOuterClass.SpanContext;
import meshloom.v1.BatchOuterClass.Strings;
import meshloom.v1.BatchOuterClass.Values;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class EventBatchTest {
    private static final ByteString NOT_UTF8 = ByteString.copyFrom(new byte[] {(byte) 0xC3});

    @Test
    void aHandlerSeesWhatTheColumnsSay() throws MalformedBatch {
        EventBatch read = EventBatch.read(batch("a", "")
                .setContentType(strings("text/plain"))
                .setSubject(strings("", "two"))
                .setKey(indexed(new int[] {-1, 0}, "k"))
                .setTime(i64(1_234_567_890_123_456_789L, Long.MIN_VALUE))
                .addExtensions(extension("n", ExtensionType.EXTENSION_TYPE_INTEGER, values(u32(-7))).setIndex(u32(1)))
                .build(), u32(1, -1));

        Event first = read.event(0);
        assertEquals(ByteString.copyFromUtf8("a"), first.payload());
        assertEquals("text/plain", first.contentType());
        assertEquals("", first.subject(), "empty is not absent");
        assertNull(first.key());
        assertEquals(1_234_567_890_123_456_789L, first.time());
        assertEquals(Map.of(), first.extensions());
        assertEquals(1, first.attempt());
        Event second = read.event(1);
        assertEquals(ByteString.EMPTY, second.payload());
        assertEquals(1, second.uid().byteAt(15));
        assertEquals("two", second.subject());
        assertEquals("k", second.key());
        assertNull(second.time());
        assertNull(second.type());
        assertEquals(-7, second.extensions().get("n").asInteger());
        assertEquals(0xFFFFFFFFL, second.attempt(), "attempts are unsigned");
    }

    @Test
    void withoutPayloadsAndAttemptsPayloadsAreEmptyAndAttemptsOne() throws MalformedBatch {
        Event event = EventBatch.read(batch("").clearPayload().build(), ByteString.EMPTY).event(0);

        assertEquals(ByteString.EMPTY, event.payload());
        assertEquals(1, event.attempt());
    }

    @Test
    void columnsOfOneNameMayCoverDifferentEvents() throws MalformedBatch {
        EventBatch read = EventBatch.read(batch("", "")
                .addExtensions(extension("x", ExtensionType.EXTENSION_TYPE_STRING, values("s")).setIndex(u32(1)))
                .addExtensions(extension("x", ExtensionType.EXTENSION_TYPE_INTEGER, values(u32(5))).setIndex(u32(0)))
                .build(), ByteString.EMPTY);

        assertEquals(5, read.event(0).extensions().get("x").asInteger());
        assertEquals("s", read.event(1).extensions().get("x").asText());
    }

    @Test
    void contextsThatCannotBeUsedDoNotMakeABatchMalformed() throws MalformedBatch {
        EventBatch read = EventBatch.read(batch("")
                .addSpans(span(0, new byte[16], new byte[8]).setFlags(-1).setTraceState("?"))
                .build(), ByteString.EMPTY);

        assertEquals(1, read.count());
    }

    @ParameterizedTest(name = "{0}: {1}")
    @MethodSource("malformed")
    void aMalformedBatchIsRefused(String rule, String reason, Batch.Builder batch) {
        MalformedBatch refused = assertThrows(
                MalformedBatch.class, () -> EventBatch.read(batch.build(), ByteString.EMPTY));

        assertEquals(reason, refused.reason(), refused.getMessage());
    }

    static Stream<Arguments> malformed() {
        return Stream.of(
                bad("B1 none", batch("").setCount(0)),
                bad("B1 too many", batch("").setCount(65_537)),
                bad("B1 u32", batch("").setCount(-1)),
                bad("B2 ends of 3 bytes", payload("a", ByteString.copyFromUtf8("123"))),
                bad("B2 ends fall", payload("ab", u32(2, 1)).setCount(2)),
                bad("B2 an end behind the data", payload("a", u32(2))),
                bad("B2 an end of 2^32 - 1", payload("a", u32(-1))),
                bad("B2 data behind the last end", payload("ab", u32(1))),
                bad("B2 data without ends", batch("").setType(
                        Strings.newBuilder().setValues(Values.newBuilder().setData(NOT_UTF8)))),
                bad("B3 one payload too few", batch("a", "b").setPayload(values("a"))),
                bad("B3 present without values", batch("a").setPayload(Values.getDefaultInstance())),
                arguments("B3 a payload of more than 16 MiB", "EVENT_TOO_LARGE",
                        batch("").setPayload(values("x".repeat((16 << 20) + 1)))),
                bad("B4 two values for three", batch("", "", "").setType(strings("a", "b"))),
                bad("B4 a short index", batch("", "").setType(indexed(new int[] {0}, "a"))),
                bad("B4 an index behind the values", batch("", "").setType(indexed(new int[] {0, 1}, "a"))),
                bad("B4 not UTF-8, and no index names it", batch("").setType(
                        Strings.newBuilder().setValues(values(ByteString.copyFromUtf8("a"), NOT_UTF8)).setIndex(u32(0)))),
                bad("B4 a character cut in two values", batch("", "").setType(Strings.newBuilder().setValues(
                        values(NOT_UTF8, ByteString.copyFrom(new byte[] {(byte) 0xA4}))))),
                arguments("B4 a text of more than 64 KiB", "ATTRIBUTE_TOO_LARGE",
                        batch("").setId(strings("x".repeat((64 << 10) + 1)))),
                arguments("B4 a key of more than 1 KiB", "ATTRIBUTE_TOO_LARGE",
                        batch("").setKey(strings("x".repeat((1 << 10) + 1)))),
                bad("B5 no uid", batch("").clearUid()),
                bad("B5 a uid too many", batch("").setUid(ByteString.copyFrom(new byte[32]))),
                bad("B5 times of one event", batch("", "").setTime(i64(1))),
                arguments("B6 65 columns", "TOO_MANY_EXTENSIONS", batch("").addAllExtensions(IntStream.range(0, 65)
                        .mapToObj(i -> extension("x" + i, ExtensionType.EXTENSION_TYPE_STRING, values("")).build()).toList())),
                badExtension("B6 no name", "", ExtensionType.EXTENSION_TYPE_STRING, "a"),
                badExtension("B6 a name of 65", "x".repeat(65), ExtensionType.EXTENSION_TYPE_STRING, "a"),
                badExtension("B6 a capital", "X", ExtensionType.EXTENSION_TYPE_STRING, "a"),
                badExtension("B6 UNSPECIFIED", "x", ExtensionType.EXTENSION_TYPE_UNSPECIFIED, "a"),
                badExtension("B6 BOOLEAN", "x", ExtensionType.EXTENSION_TYPE_BOOLEAN, "\u0002"),
                badExtension("B6 INTEGER", "x", ExtensionType.EXTENSION_TYPE_INTEGER, "123"),
                badExtension("B6 TIMESTAMP", "x", ExtensionType.EXTENSION_TYPE_TIMESTAMP, "1234"),
                bad("B6 URI", batch("").addExtensions(extension("x", ExtensionType.EXTENSION_TYPE_URI, values(NOT_UTF8)))),
                arguments("B6 a value of more than 64 KiB", "ATTRIBUTE_TOO_LARGE", batch("").addExtensions(
                        extension("x", ExtensionType.EXTENSION_TYPE_BINARY, values("x".repeat((64 << 10) + 1))))),
                bad("B6 an event has a name twice", batch("", "")
                        .addExtensions(extension("x", ExtensionType.EXTENSION_TYPE_STRING, values("a", "b")))
                        .addExtensions(extension("x", ExtensionType.EXTENSION_TYPE_BINARY, values("c")).setIndex(u32(1)))),
                bad("B7 one value for two", batch("", "").addExtensions(
                        extension("x", ExtensionType.EXTENSION_TYPE_STRING, values("a")))),
                bad("B7 twice the same", batch("", "").addExtensions(
                        extension("x", ExtensionType.EXTENSION_TYPE_STRING, values("a", "b")).setIndex(u32(1, 1)))),
                bad("B7 behind the batch", batch("", "").addExtensions(
                        extension("x", ExtensionType.EXTENSION_TYPE_STRING, values("a")).setIndex(u32(2)))),
                bad("B7 an index of 3 bytes", batch("").addExtensions(extension("x",
                        ExtensionType.EXTENSION_TYPE_STRING, values("a")).setIndex(ByteString.copyFromUtf8("123")))),
                bad("B8 two of one event", batch("").addSpans(span(0, new byte[16], new byte[8]))
                        .addSpans(span(0, new byte[16], new byte[8]))),
                bad("B8 behind the batch", batch("").addSpans(span(1, new byte[16], new byte[8]))),
                bad("B8 a trace_id of 15", batch("").addSpans(span(0, new byte[15], new byte[8]))),
                bad("B8 a span_id of 9", batch("").addSpans(span(0, new byte[16], new byte[9]))));
    }

    @Test
    void attemptsAreOneForEachEventAndFromOne() {
        Batch two = batch("", "").build();

        assertThrows(MalformedBatch.class, () -> EventBatch.read(two, u32(1)));
        assertThrows(MalformedBatch.class, () -> EventBatch.read(two, u32(1, 0)));
    }

    private static Arguments bad(String rule, Batch.Builder batch) {
        return arguments(rule, "BATCH_MALFORMED", batch);
    }

    private static Arguments badExtension(String rule, String name, ExtensionType type, String value) {
        return bad(rule, batch("").addExtensions(extension(name, type, values(value))));
    }

    private static Batch.Builder payload(String data, ByteString ends) {
        return batch("").setPayload(Values.newBuilder().setData(ByteString.copyFromUtf8(data)).setEnds(ends));
    }

    private static Extension.Builder extension(String name, ExtensionType type, Values values) {
        return Extension.newBuilder().setName(name).setType(type).setValues(values);
    }

    private static SpanContext.Builder span(int index, byte[] traceId, byte[] spanId) {
        return SpanContext.newBuilder()
                .setIndex(index)
                .setTraceId(ByteString.copyFrom(traceId))
                .setSpanId(ByteString.copyFrom(spanId));
    }
}
