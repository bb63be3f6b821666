// Rules of proto/README.md that are about what a handler sees and says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type MeshEvent, node, output, Timestamp, Uri, UriReference } from "meshloom";
import { batchOf, Client, start, strings, u32, values } from "./harness.js";

const i64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
};
const column = (name: string, type: number, value: string | Buffer) => ({
  name,
  type,
  values: values([value]),
  index: Buffer.alloc(0),
});
const EXTENSIONS = [
  column("flag", 1, Buffer.of(1)),
  column("part", 2, Buffer.from(Int32Array.of(-7).buffer)),
  column("text", 3, "x"),
  column("raw", 4, Buffer.of(0, 255)),
  column("uri", 5, "http://h"),
  column("ref", 6, "../a"),
  column("at", 7, i64(-1n)),
];

test("B11: extensions keep their types and times their nanoseconds, both ways", async () => {
  let seen: MeshEvent["extensions"] = {};
  const copy = node("copy").map((event) => {
    seen = event.extensions;
    return output(event, { extensions: event.extensions });
  });
  const { address } = await start(copy);
  const stream = await new Client(address).process();
  const answer = await stream.handle([1], {}, { extensions: EXTENSIONS });
  assert.deepEqual(seen, {
    flag: true,
    part: -7,
    text: "x",
    raw: Buffer.of(0, 255),
    uri: new Uri("http://h"),
    ref: new UriReference("../a"),
    at: new Timestamp(-1n),
  });
  const sent = answer.results[0]!.outputs!.extensions.map(({ name, type, values: v }) => [
    name,
    type,
    Buffer.from(v!.data),
  ]);
  assert.deepEqual(
    sent,
    EXTENSIONS.map(({ name, type, values: v }) => [name, type, Buffer.from(v.data)]),
  );
});

test("Timestamp: to the nanosecond, before 1970 too; a Date and a URL are taken as well", () => {
  assert.equal(String(new Timestamp(1_500_000_000n)), "1970-01-01T00:00:01.500Z");
  assert.equal(String(new Timestamp(-1n)), "1969-12-31T23:59:59.999999999Z");
  assert.equal(new Timestamp(-1n).toDate().getTime(), -1);
  assert.throws(() => new Timestamp(2n ** 63n), /does not fit 64 bits/);
  assert.equal(JSON.stringify([new Uri("u:x"), new UriReference("x")]), '["u:x","x"]');
});

test("B11: absent is not empty", async () => {
  const tell = node("tell").map(({ subject, key, type }) => [subject ?? "absent", key ?? "absent", type ?? "absent"]);
  const { address } = await start(tell);
  const stream = await new Client(address).process();
  const answer = await stream.handle([1, 2], {}, { subject: strings([""], [0, 0xffff_ffff]), type: strings([""]) });
  assert.deepEqual(
    answer.outputs.map(({ value }) => value),
    [
      ["", "absent", ""],
      ["absent", "absent", ""],
    ],
  );
});

test("W4: the event itself passes without its payload; with attributes too; another's event does not", async () => {
  let kept: MeshEvent | undefined;
  const pass = node("pass", { routes: ["hot"] }).map((event) => {
    const n = event.json<number>();
    if (n === 0) kept = event;
    return n === 2 ? kept! : n === 1 ? output(event, { route: "hot", contentType: "" }) : event;
  });
  const both = node("both").flatMap((event) => [event, event]);
  const rows = node("rows").batch((batch, out) => {
    out.emit(0, batch.event(0));
    out.emit(1, batch.event(0));
  });
  const { address } = await start(pass, both, rows);
  const client = new Client(address);
  const passed = await (await client.process({ handler: "pass" })).handle([0, 1, 2]);
  const { outputs } = passed.results[0]!;
  assert.equal(outputs!.payload, undefined);
  assert.deepEqual(
    passed.outputs.map(({ route }) => route),
    [undefined, "hot"],
  );
  assert.deepEqual(passed.failed, ["2:REJECT:OUTPUT_INVALID"]);
  assert.match(passed.failures[0]!.message, /give its data: output\(event.data/);
  const twice = await (await client.process({ handler: "both" })).handle([1]);
  assert.deepEqual([twice.outputs.length, twice.results[0]!.outputs!.payload], [2, undefined]);
  const batch = await (await client.process({ handler: "rows" })).handle([1, 2]);
  assert.deepEqual([batch.outputs.length, batch.failed], [1, ["1:REJECT:OUTPUT_INVALID"]]);
});

test("W19: in a batch handler an output that cannot be sent rejects its own input alone", async () => {
  const rows = node("rows").batch((_, out) => {
    out.emit(0, "fine");
    out.emit(1, "fine, but");
    out.emit(1, 1n);
    out.emit(1, "forgotten");
    out.emit(2, 1, { route: "nowhere" });
  });
  const { address } = await start(rows);
  const answer = await (await new Client(address).process()).handle([1, 2, 3]);
  assert.deepEqual(
    answer.outputs.map(({ value }) => value),
    ["fine"],
  );
  assert.deepEqual(answer.failed, ["1:REJECT:OUTPUT_INVALID", "2:REJECT:ROUTE_UNDECLARED"]);
});

test("W10: a batch handler that names an input twice fails as a whole, also when it catches the error", async () => {
  const rows = node("rows").batch((batch, out) => {
    out.pass([0, 1]);
    try {
      if (batch.json<number>(0) === 1) out.drop(0);
      else out.drop(batch.count);
    } catch {
      // Swallowed.
    }
  });
  const { address } = await start(rows);
  const stream = await new Client(address).process();
  for (const n of [1, 2]) {
    assert.deepEqual((await stream.handle([n, n])).failed, ["4294967295:RETRY:RESULT_INDEX_REPEATED"]);
  }
});

test("W12: attempts reach the handler", async () => {
  const { address } = await start(node("attempts").map((_, { attempt }) => attempt));
  const answer = await (await new Client(address).process()).handle([1, 2], { attempts: u32([1, 5]) });
  assert.deepEqual(
    answer.outputs.map(({ value }) => value),
    [1, 5],
  );
});

test("T7: a stream does not wait for another whose handler hangs", async () => {
  const { address } = await start(
    node("hang").map(() => new Promise<number>(() => undefined)),
    node("quick").map(() => 1),
  );
  const hanging = await new Client(address).process({ handler: "hang" });
  const sequence = hanging.work(batchOf([1]));
  await hanging.until("progress");
  const quick = await new Client(address).process({ handler: "quick" });
  assert.equal((await quick.handle([1])).outputs.length, 1);
  hanging.cancel(sequence);
  assert.deepEqual((await hanging.answer(sequence)).failed, ["0:RETRY:CANCELLED"]);
});
