import assert from "node:assert/strict";
import { test } from "node:test";
import { node } from "meshloom";
import type { Batch, Extension, SpanContext } from "../dist/esm/gen/meshloom/v1/batch.js";
import type { Work } from "../dist/esm/gen/meshloom/v1/process.js";
import { batchOf, Client, openProcess, type ProcessStream, start, strings, u32, values } from "./harness.js";

const pass = node("pass", { limits: { maxInFlightWorks: 4 } }).filter(() => true);
const served = await start(pass);
const stream = await new Client(served.address).process();

const two = (columns: Partial<Batch>): Batch => batchOf([1, 2], columns);
const extension = (more: Partial<Extension>): Partial<Batch> => ({
  extensions: [{ name: "a", type: 3, values: values(["x", "y"]), index: Buffer.alloc(0), ...more }],
});
const span = (more: Partial<SpanContext>): SpanContext => ({
  index: 1,
  traceId: Buffer.alloc(16, 1),
  spanId: Buffer.alloc(8, 1),
  flags: 1,
  traceState: "",
  ...more,
});
const broken = Buffer.from([0xff, 0xfe]);

const rules: [what: string, reason: string, says: RegExp, batch: Batch | undefined, more?: Partial<Work>][] = [
  ["no batch", "BATCH_MALFORMED", /no batch/, undefined],
  ["no events", "BATCH_MALFORMED", /count is 0/, two({ count: 0 })],
  ["too many events", "BATCH_TOO_LARGE", /limit of this node is 65536/, two({ count: 65_537 })],
  [
    "ends fall",
    "BATCH_MALFORMED",
    /payload.ends falls at 1/,
    two({ payload: { data: Buffer.from("12"), ends: u32([2, 1]) } }),
  ],
  [
    "ends beyond data",
    "BATCH_MALFORMED",
    /ends at 3, but data has 2/,
    two({ payload: { data: Buffer.from("12"), ends: u32([1, 3]) } }),
  ],
  [
    "data beyond ends",
    "BATCH_MALFORMED",
    /ends at 1, but data has 2/,
    two({ payload: { data: Buffer.from("12"), ends: u32([1, 1]) } }),
  ],
  [
    "too few ends",
    "BATCH_MALFORMED",
    /holds 1 values, expected 2/,
    two({ payload: { data: Buffer.from("1"), ends: u32([1]) } }),
  ],
  [
    "ragged ends",
    "BATCH_MALFORMED",
    /not a multiple of 4/,
    two({ payload: { data: Buffer.from("1"), ends: Buffer.alloc(7) } }),
  ],
  ["short uid", "BATCH_MALFORMED", /uid holds 16 bytes, expected 32/, two({ uid: Buffer.alloc(16) })],
  ["no uid", "BATCH_MALFORMED", /uid holds 0 bytes/, two({ uid: Buffer.alloc(0) })],
  ["short time", "BATCH_MALFORMED", /time holds 8 bytes/, two({ time: Buffer.alloc(8) })],
  ["an attempt of 0", "BATCH_MALFORMED", /attempts\[1\] is 0/, two({}), { attempts: u32([1, 0]) }],
  ["a span of no event", "BATCH_MALFORMED", /spans\[0\].index is 2/, two({ spans: [span({ index: 2 })] })],
  ["spans that fall", "BATCH_MALFORMED", /spans\[1\].index is 1 after 1/, two({ spans: [span({}), span({})] })],
  ["a short trace id", "BATCH_MALFORMED", /trace_id has 3 bytes/, two({ spans: [span({ traceId: Buffer.alloc(3) })] })],
  ["a short span id", "BATCH_MALFORMED", /span_id has 9 bytes/, two({ spans: [span({ spanId: Buffer.alloc(9) })] })],
  ["attempts of another length", "BATCH_MALFORMED", /attempts holds 4 bytes/, two({}), { attempts: u32([1]) }],
  ["index out of range", "BATCH_MALFORMED", /key.index\[1\] is 1/, two({ key: strings(["a"], [0, 1]) })],
  [
    "index of another length",
    "BATCH_MALFORMED",
    /id.index holds 4 bytes, expected 8/,
    two({ id: strings(["a"], [0]) }),
  ],
  [
    "positional of another length",
    "BATCH_MALFORMED",
    /type has 3 values and no index/,
    two({ type: strings(["a", "b", "c"]) }),
  ],
  [
    "no UTF-8",
    "BATCH_MALFORMED",
    /subject is not valid UTF-8/,
    two({ subject: { values: values([broken]), index: u32([]) } }),
  ],
  [
    "a value that ends inside a character",
    "BATCH_MALFORMED",
    /source\[0\] ends inside a UTF-8 character/,
    two({ source: { values: { data: Buffer.from("é"), ends: u32([1, 2]) }, index: u32([]) } }),
  ],
  [
    "long key",
    "ATTRIBUTE_TOO_LARGE",
    /key\[0\] has 1025 bytes, the limit is 1024/,
    two({ key: strings(["k".repeat(1025)]) }),
  ],
  ["long attribute", "ATTRIBUTE_TOO_LARGE", /from\[0\] has 65537 bytes/, two({ from: strings(["k".repeat(65_537)]) })],
  [
    "large event",
    "EVENT_TOO_LARGE",
    /payload\[0\] has 16777217 bytes/,
    { ...batchOf([0]), payload: { data: Buffer.alloc(16_777_217), ends: u32([16_777_217]) } },
  ],
  [
    "large batch",
    "BATCH_TOO_LARGE",
    /the limit is 33554432/,
    { ...batchOf([0, 1, 2]), payload: { data: Buffer.alloc(36_000_000), ends: u32([12e6, 24e6, 36e6]) } },
  ],
  ["bad extension name", "BATCH_MALFORMED", /extension name "A b"/, two(extension({ name: "A b" }))],
  ["untyped extension", "BATCH_MALFORMED", /unknown type 0/, two(extension({ type: 0 }))],
  ["unknown extension type", "BATCH_MALFORMED", /unknown type 8/, two(extension({ type: 8 as never }))],
  [
    "extension values short",
    "BATCH_MALFORMED",
    /holds 1 values, expected 2/,
    two(extension({ values: values(["x"]) })),
  ],
  ["extension index does not rise", "BATCH_MALFORMED", /does not rise at 1/, two(extension({ index: u32([1, 1]) }))],
  [
    "extension index out of range",
    "BATCH_MALFORMED",
    /index\[0\] is 2/,
    two(extension({ index: u32([2]), values: values(["x"]) })),
  ],
  ["integer of another size", "BATCH_MALFORMED", /has 1 bytes, its type has 4/, two(extension({ type: 2 }))],
  [
    "boolean that is neither",
    "BATCH_MALFORMED",
    /neither 0 nor 1/,
    two(extension({ type: 1, values: values([Buffer.of(1), Buffer.of(2)]) })),
  ],
  [
    "extension twice",
    "BATCH_MALFORMED",
    /extension a is given twice/,
    two({
      extensions: [
        extension({}).extensions![0]!,
        extension({ type: 5, index: u32([1]), values: values(["x"]) }).extensions![0]!,
      ],
    }),
  ],
  [
    "too many extensions",
    "TOO_MANY_EXTENSIONS",
    /65 extensions/,
    two({ extensions: Array.from({ length: 65 }, (_, i) => extension({ name: `a${i}` }).extensions![0]!) }),
  ],
];

for (const [what, reason, says, batch, more] of rules) {
  test(`malformed: ${what}`, async () => {
    const answer = await stream.answer(stream.work(batch as Batch, more));
    assert.equal(answer.results.length, 1);
    assert.deepEqual(answer.failed, [`4294967295:RETRY:${reason}`]);
    assert.match(answer.failures[0]!.message, says);
    // The stream goes on.
    assert.equal((await stream.handle([1])).outputs.length, 1);
  });
}

test("legal corner cases pass", async () => {
  const empty = await stream.answer(stream.work({ ...batchOf([1, 2]), payload: undefined }));
  assert.equal(empty.outputs.length, 2);
  const bare = { ...batchOf([1, 2]), contentType: undefined, key: strings([]), type: strings(["é", "ü"]) };
  assert.equal((await stream.answer(stream.work(bare))).outputs.length, 2);
  const apart = [
    extension({ index: u32([0]), values: values(["x"]) }),
    extension({ type: 5, index: u32([1]), values: values(["u:x"]) }),
  ];
  assert.equal(
    (await stream.handle([1, 2], {}, { extensions: apart.map((e) => e.extensions![0]!) })).outputs.length,
    2,
  );
  const max = await stream.handle(Array.from({ length: 65_536 }, () => 1));
  assert.equal(max.outputs.length, 65_536);
});

test("unusable span contexts never fail work", async () => {
  const zero = { index: 0, traceId: Buffer.alloc(16), spanId: Buffer.alloc(8), flags: 1, traceState: "" };
  const odd = { index: 1, traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 1), flags: 0xffff, traceState: "=,=" };
  assert.equal((await stream.handle([1, 2], {}, { spans: [zero, odd] })).outputs.length, 2);
});

test("more works than the limits allow", async () => {
  let open!: () => void;
  const held = new Promise<void>((resolve) => (open = resolve));
  const { address } = await start(node("one", { limits: { maxInFlightWorks: 1 } }).sink(() => held));
  const busy = await new Client(address).process();
  const first = busy.work(batchOf([1]));
  const second = await busy.answer(busy.work(batchOf([2])));
  assert.deepEqual(second.failed, ["4294967295:RETRY:LIMITS_EXCEEDED"]);
  open();
  assert.equal((await busy.answer(first)).consumed, 1);
});

test("a stream that breaks the protocol ends INVALID_ARGUMENT", async () => {
  const { address } = await start(pass);
  const client = new Client(address);
  for (const [break_, says] of [
    [(raw: ProcessStream) => raw.raw.write(broken), /cannot be decoded/],
    [(raw: ProcessStream) => raw.send({ $case: "open", value: openProcess() }), /open came twice/],
  ] as const) {
    const opened = await client.process();
    break_(opened);
    const { code, details } = await opened.status;
    assert.equal(code, 3);
    assert.match(details, says);
  }
});
