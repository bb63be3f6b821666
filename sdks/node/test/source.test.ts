import assert from "node:assert/strict";
import { test } from "node:test";
import { node, output, Reject } from "meshloom";
import { z } from "zod";
import type { Produced } from "../dist/esm/gen/meshloom/v1/produce.js";
import { Client, eventually, gate, type ProduceStream, readStrings, readValues, start } from "./harness.js";

const numbers = node("numbers").source<number>(async function* ({ checkpoint, config }) {
  for (let n = (checkpoint ?? 0) + 1; n <= (config["count"] as number); n++) {
    await Promise.resolve();
    yield output({ n }, { checkpoint: n, key: `k${n}`, time: BigInt(n) });
  }
});

const ids = ({ batch }: Produced): (string | undefined)[] => readStrings(batch!.id, batch!.count);
const checkpointOf = ({ checkpoint }: Produced): unknown =>
  checkpoint === undefined ? undefined : JSON.parse(Buffer.from(checkpoint).toString());

async function frames(stream: ProduceStream, events: number): Promise<Produced[]> {
  const found: Produced[] = [];
  for (let count = 0; count < events; count += found.at(-1)!.batch!.count) {
    found.push((await stream.until("produced")).value);
  }
  return found;
}

test("frames come as demand allows, with ids, checkpoints and attributes; the end is said", async () => {
  const { address } = await start(numbers);
  const stream = await new Client(address).produce({ config: { count: 5 } });
  stream.demand(3);
  const first = await frames(stream, 3);
  assert.deepEqual(first.flatMap(ids), ["#1", "1#1", "2#1"]);
  assert.deepEqual([first[0]!.sequence, checkpointOf(first.at(-1)!)], [1n, 3]);
  const { batch } = first[0]!;
  assert.equal(batch!.uid.length, 0);
  assert.equal(readValues(batch!.payload!)[0]!.toString(), '{"n":1}');
  assert.equal(readStrings(batch!.key, batch!.count)[0], "k1");
  assert.equal(Buffer.from(batch!.time).readBigInt64LE(0), 1n);
  stream.demand(10);
  assert.deepEqual((await frames(stream, 2)).flatMap(ids), ["3#1", "4#1"]);
  await stream.until("exhausted");
  assert.equal((await stream.status).code, 0);
});

test("a source resumes after the checkpoint it is given, with the same ids", async () => {
  const { address } = await start(numbers);
  const stream = await new Client(address).produce({ config: { count: 4 }, checkpoint: Buffer.from("2") });
  stream.demand(100);
  assert.deepEqual((await frames(stream, 2)).flatMap(ids), ["2#1", "3#1"]);
});

test("credit in bytes: a frame stays within it, one event may pass it", async () => {
  const wide = node("wide").source(() => Array.from({ length: 4 }, () => "x".repeat(98)));
  const { address } = await start(wide);
  const stream = await new Client(address).produce();
  stream.demand(10, 250);
  const [first] = await frames(stream, 1);
  assert.equal(first!.batch!.count, 2);
  // 50 bytes are left: one event of 100 may still go.
  assert.equal((await frames(stream, 1))[0]!.batch!.count, 1);
  // What it took too much is made up for first.
  stream.demand(0, 51);
  assert.equal((await frames(stream, 1))[0]!.batch!.count, 1);
});

test("an event does not wait for company longer than a moment", async () => {
  const { opened, open } = gate();
  const slow = node("slow").source(async function* () {
    yield 1;
    await opened;
    yield 2;
  });
  const { address } = await start(slow);
  const stream = await new Client(address).produce();
  stream.demand(10);
  assert.equal((await frames(stream, 1)).length, 1);
  open();
  await frames(stream, 1);
});

test("stop: the signal aborts, what is in hand is sent, finally runs, the stream ends OK without exhausted", async () => {
  let closed = false;
  const endless = node("endless").source(async function* ({ signal }) {
    try {
      for (let n = 0; ; n++) {
        yield n;
        if (n === 2) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      }
    } finally {
      closed = true;
    }
  });
  const { address } = await start(endless);
  const stream = await new Client(address).produce();
  stream.demand(100);
  await frames(stream, 3);
  stream.send({ $case: "stop", value: {} });
  assert.equal((await frames(stream, 1))[0]!.batch!.count, 1);
  assert.equal((await stream.status).code, 0);
  assert.ok(!stream.received.some((response) => response.$case === "exhausted"));
  await eventually("finally", () => closed);
});

test("settled reaches the hook in order; a failing hook does not end the source", async () => {
  const settled: (number | undefined)[] = [];
  const committed = node("committed").source<number>(
    async function* ({ signal }) {
      yield output(1, { checkpoint: 1 });
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
    {
      settled: (checkpoint) => {
        settled.push(checkpoint);
        if (checkpoint === 1) throw new Error("upstream is away");
      },
    },
  );
  const { address } = await start(committed);
  const stream = await new Client(address).produce();
  stream.demand(1);
  await frames(stream, 1);
  for (const checkpoint of [1, 2]) {
    stream.send({ $case: "settled", value: { sequence: 1n, checkpoint: Buffer.from(String(checkpoint)) } });
  }
  await eventually("both", () => settled.length === 2);
  assert.deepEqual(settled, [1, 2]);
});

test("a checkpoint that repeats, and a source that throws, end the stream with the reason; earlier events arrive", async () => {
  const repeating = node("repeating").source(function* () {
    yield output(1, { checkpoint: "a" });
    yield output(2, { checkpoint: "a" });
  });
  const failing = node("failing").source(async function* () {
    yield 1;
    await Promise.resolve();
    throw new Error("disk gone");
  });
  const empty = node("empty").source(() => undefined as never);
  const { address } = await start(repeating, failing, empty);
  const client = new Client(address);
  for (const [handler, says, events] of [
    ["repeating", /came twice in a row/, 1],
    ["failing", /the source failed: disk gone/, 1],
    ["empty", /nothing to iterate over/, 0],
  ] as const) {
    const stream = await client.produce({ handler });
    stream.demand(100);
    assert.equal((await frames(stream, events)).length, events);
    const { code, details } = await stream.status;
    assert.equal(code, 10);
    assert.match(details, says);
  }
});

test("drain ends a source", async () => {
  const { address, stop } = await start(numbers);
  const stream = await new Client(address).produce({ config: { count: 1e9 } });
  stream.demand(1e6, 1e9);
  await frames(stream, 1000);
  await stop();
  assert.equal((await stream.status).code, 0);
});

test("ids of a long checkpoint carry its digest; one that is too long, or no JSON, is refused", async () => {
  const long = "x".repeat(300);
  const many = node("many").source(function* ({ config }) {
    yield output(1, { checkpoint: long });
    yield 2;
    if (config["size"] !== undefined) yield output(3, { checkpoint: "x".repeat(config["size"] as number) });
    if (config["size"] === undefined) yield output(3, { checkpoint: () => 1 });
  });
  const { address } = await start(many);
  for (const [config, says] of [
    [{ size: 65_535 }, /65537 bytes of JSON, the limit is 65536/],
    [{}, /must be a JSON value, not a function/],
  ] as const) {
    const stream = await new Client(address).produce({ config });
    stream.demand(10);
    const [first, second] = (await frames(stream, 2)).flatMap(ids);
    assert.equal(first, "#1");
    assert.match(second!, /^[0-9a-f]{64}#1$/);
    assert.match((await stream.status).details, says);
  }
});

test("settled reaches each event's own callback, once, before the hook is told its checkpoint; failures are logged", async () => {
  const log: string[] = [];
  const queue = node("queue", { setup: () => ({ commit: (c: number) => log.push(`commit ${c}`) }) }).source<number>(
    async function* ({ signal }) {
      for (const n of [1, 2, 3]) {
        yield output(n, {
          checkpoint: n,
          settled: async () => {
            await Promise.resolve();
            log.push(`ack ${n}`);
            if (n === 2) throw new Error("the queue is away");
          },
        });
      }
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    },
    { replays: false, settled: (checkpoint, { state }) => state.commit(checkpoint) },
  );
  const { address } = await start(queue);
  const stream = await new Client(address).produce();
  for (const n of [1, 2, 3]) {
    stream.demand(1);
    const [frame] = await frames(stream, 1);
    assert.deepEqual([frame!.sequence, ids(frame!)], [BigInt(n), [undefined]]);
  }
  const settle = (sequence: bigint, checkpoint: number | undefined): void =>
    stream.send({
      $case: "settled",
      value: { sequence, checkpoint: checkpoint === undefined ? undefined : Buffer.from(String(checkpoint)) },
    });
  // Out of order, as queues may be told; a frame twice, and a checkpoint twice, are heard once.
  settle(3n, undefined);
  settle(1n, 1);
  settle(1n, 1);
  settle(2n, 3);
  await eventually("all", () => log.length === 5);
  assert.deepEqual(log, ["ack 3", "ack 1", "commit 1", "ack 2", "commit 3"]);
});

test("a checkpoint that the source cannot read is refused before it is opened", async () => {
  const typed = node("typed").source(
    function* ({ checkpoint = 0 }) {
      yield checkpoint + 1;
    },
    { checkpoint: z.int() },
  );
  const { address } = await start(typed);
  const client = new Client(address);
  for (const [checkpoint, says] of [
    ["{", /checkpoint: it is not UTF-8 JSON/],
    ['"x"', /checkpoint: .*expected number/],
  ] as const) {
    const refused = client.produce({ checkpoint: Buffer.from(checkpoint) });
    await assert.rejects(refused, ({ status }: { status: { code: number; details: string } }) => {
      assert.equal(status.code, 3);
      assert.match(status.details, says);
      return true;
    });
  }
  const stream = await client.produce({ checkpoint: Buffer.from("4") });
  stream.demand(1);
  assert.equal(String((await frames(stream, 1))[0]!.batch!.payload!.data), "5");
});

test("whatever a source throws, it has failed: SOURCE_FAILED", async () => {
  const rejecting = node("rejecting").source(function* () {
    yield 1;
    throw new Reject("no", { reason: "OWN" });
  });
  const { address } = await start(rejecting);
  const stream = await new Client(address).produce();
  stream.demand(10);
  await frames(stream, 1);
  const { code, metadata } = await stream.status;
  assert.equal(code, 10);
  assert.match(String(metadata.get("grpc-status-details-bin")[0]), /SOURCE_FAILED/);
});
