import assert from "node:assert/strict";
import { test } from "node:test";
import type { StatusObject } from "@grpc/grpc-js";
import { node, Reject } from "meshloom";
import { Ordering } from "../dist/esm/gen/meshloom/v1/process.js";
import { batchOf, Client, eventually, gate, start, strings } from "./harness.js";

const DRAINING = "the node is draining: it takes no new streams";
const second = { seconds: 1n, nanos: 0 };

test("timeout: a call past its time is answered TIMEOUT by the node, its signal aborts; the others go on", async () => {
  const aborted: unknown[] = [];
  const late = gate();
  const slow = node("slow", { concurrency: 2 }).map(async (event, { signal, deadline }) => {
    const n = event.json<number>();
    if (deadline === undefined) return n;
    assert.ok(deadline.getTime() - Date.now() < 1000);
    signal.addEventListener("abort", () => aborted.push(signal.reason));
    await late.opened;
    return n;
  });
  const { address } = await start(slow);
  const stream = await new Client(address).process();
  const sequence = stream.work(batchOf([0, 1]), { timeout: { seconds: 0n, nanos: 300_000_000 } });
  assert.deepEqual((await stream.answer(sequence)).failed, ["0:RETRY:TIMEOUT", "1:RETRY:TIMEOUT"]);
  // The places are free again.
  assert.equal((await stream.handle([2])).outputs.length, 1);
  assert.deepEqual(
    aborted.map((reason) => (reason as Error).name),
    ["TimeoutError", "TimeoutError"],
  );
  // What the calls return later changes nothing.
  late.open();
  assert.equal((await stream.handle([2])).outputs.length, 1);
  assert.equal(
    stream.received.filter((r) => r.$case === "result" && r.value.sequence === sequence && r.value.last).length,
    1,
  );
});

test("timeout: a handler that blocked the thread for longer is answered TIMEOUT, whatever it returned", async () => {
  const blocking = node("blocking").map((event) => {
    const ms = event.json<number>();
    for (const end = performance.now() + ms; performance.now() < end;);
    if (ms === 401) throw new Reject("too late to say");
    return ms;
  });
  const { address } = await start(blocking);
  const stream = await new Client(address).process();
  const answer = await stream.handle([400, 401], { timeout: { seconds: 0n, nanos: 300_000_000 } });
  assert.deepEqual(answer.failed, ["0:RETRY:TIMEOUT", "1:RETRY:TIMEOUT"]);
});

test("timeout: behind a call that took too long, its key's later events are held", async () => {
  const hang = node("hang").map(() => new Promise<number>(() => undefined));
  const { address } = await start(hang);
  const stream = await new Client(address).process({ ordering: Ordering.ORDERING_KEY });
  const key = strings(["a"], [0, 0]);
  const answer = await stream.handle([0, 1], { timeout: { seconds: 0n, nanos: 300_000_000 } }, { key });
  assert.deepEqual(answer.failed, ["0:RETRY:TIMEOUT", "1:RETRY:KEY_HELD"]);
});

test("cancel within the time is CANCELLED for all, and aborts the signal", async () => {
  let reason: unknown;
  const slow = node("slow").map(
    (_, { signal }) =>
      new Promise<number>((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          reason = signal.reason;
          reject(signal.reason as Error);
        }),
      ),
  );
  const { address } = await start(slow);
  const stream = await new Client(address).process();
  const sequence = stream.work(batchOf([0]), { timeout: { seconds: 60n, nanos: 0 } });
  const running = await stream.until("progress");
  assert.deepEqual(
    running.value.calls.map(({ index }) => index),
    [0],
  );
  stream.cancel(sequence);
  assert.deepEqual((await stream.answer(sequence)).failed, ["0:RETRY:CANCELLED"]);
  assert.equal((reason as Error).name, "AbortError");
});

test("batch calls: timeout and cancel name the whole work, or its inputs", async () => {
  const hang = node("hang").batch(() => new Promise(() => undefined));
  const { address } = await start(hang);
  const stream = await new Client(address).process();
  const short = stream.work(batchOf([0, 1]), { timeout: { seconds: 0n, nanos: 1 } });
  assert.deepEqual((await stream.answer(short)).failed, ["4294967295:RETRY:TIMEOUT"]);
  const long = stream.work(batchOf([0, 1]), { timeout: { seconds: 60n, nanos: 0 } });
  const progress = await stream.until("progress");
  assert.equal(progress.value.calls[0]!.index, 0xffff_ffff);
  stream.cancel(long);
  assert.deepEqual((await stream.answer(long)).failed, ["0:RETRY:CANCELLED", "1:RETRY:CANCELLED"]);
});

test("concurrency bounds the calls at one time; the pipeline's word wins", async () => {
  let [now, most] = [0, 0];
  const counted = node("counted", { concurrency: 3 }).map(async () => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 2));
    now--;
    return 1;
  });
  const { address } = await start(counted);
  const client = new Client(address);
  const rows = Array.from({ length: 20 }, (_, i) => i);
  assert.equal((await (await client.process()).handle(rows)).outputs.length, 20);
  assert.equal(most, 3);
  most = 0;
  await (await client.process({ concurrency: 7 })).handle(rows);
  assert.equal(most, 7);
});

test("ordering by key: one call per key at a time, in order; after a retry its later events are held", async () => {
  const log: string[] = [];
  let running = new Set<string>();
  const keyed = node("keyed").map(async (event) => {
    const { key } = event;
    const n = event.json<number>();
    assert.ok(!running.has(key!), `${key} runs twice at one time`);
    running.add(key!);
    await new Promise((resolve) => setTimeout(resolve, (7 * n) % 5));
    running.delete(key!);
    log.push(`${key}${n}`);
    if (n === 3) throw new Error("again");
    return n;
  });
  const { address } = await start(keyed);
  const stream = await new Client(address).process({ ordering: Ordering.ORDERING_KEY });
  const key = strings(["a", "b"], [0, 1, 0, 1, 0, 1, 0, 1]);
  const answer = await stream.handle([0, 1, 2, 3, 4, 5, 6, 7], {}, { key });
  assert.deepEqual(
    log.filter((entry) => entry.startsWith("a")),
    ["a0", "a2", "a4", "a6"],
  );
  assert.deepEqual(
    log.filter((entry) => entry.startsWith("b")),
    ["b1", "b3"],
  );
  assert.deepEqual(answer.failed, ["3:RETRY:HANDLER_ERROR", "5:RETRY:KEY_HELD", "7:RETRY:KEY_HELD"]);
  running = new Set();
  const all = await new Client(address).process({ ordering: Ordering.ORDERING_ALL });
  const everything = await all.handle([0, 1, 3, 4], {}, { key: strings(["a", "b"], [0, 1, 0, 1]) });
  assert.deepEqual(everything.failed, ["2:RETRY:HANDLER_ERROR", "3:RETRY:KEY_HELD"]);
});

test("ordering by key in a batch handler: rows behind a retried one of their key are held, and their outputs discarded", async () => {
  const verdicts = node("verdicts").batch((rows, out) => {
    Array.from(rows, (event) => event.json<string>()).forEach((what, i) => {
      if (what === "retry") out.retry(i, "later");
      else if (what === "reject") out.reject(i, "bad", { reason: "BAD" });
      else if (what === "drop") out.drop(i);
      else out.emit(i, what);
    });
  });
  const { address } = await start(verdicts);
  const stream = await new Client(address).process({ ordering: Ordering.ORDERING_KEY });
  const said = ["retry", "x", "y", "drop", "reject", "reject", "z"];
  const answer = await stream.handle(said, {}, { key: strings(["a", "b", "c"], [0, 1, 0, 0, 0, 2, 2]) });
  assert.deepEqual([...answer.failed].sort(), [
    "0:RETRY:RETRY",
    "2:RETRY:KEY_HELD",
    "3:RETRY:KEY_HELD",
    "4:RETRY:KEY_HELD",
    "5:REJECT:BAD",
  ]);
  assert.equal(answer.outputs.length, 2);
  assert.equal(answer.consumed, 0);
});

test("half-close: what is held is answered, then the stream ends OK", async () => {
  const { opened, open } = gate();
  const { address } = await start(node("slow").map(async () => (await opened, 1)));
  const stream = await new Client(address).process();
  const sequence = stream.work(batchOf([1, 2]));
  stream.raw.end();
  open();
  assert.equal((await stream.answer(sequence)).outputs.length, 2);
  assert.equal((await stream.status).code, 0);
});

test("drain: health NOT_SERVING, work in hand is finished, later work goes back for free, streams end OK", async () => {
  const { opened, open } = gate();
  const begun = gate();
  const slow = node("slow").map(async () => {
    begun.open();
    await opened;
    return 1;
  });
  const { address, stop } = await start(slow);
  const client = new Client(address);
  const stream = await client.process();
  assert.equal(await client.health(), 1);
  const held = stream.work(batchOf([1]));
  await begun.opened;
  const stopped = stop();
  await eventually("NOT_SERVING", async () => (await client.health()) === 2);
  const refused = await client.process().catch((error: unknown) => (error as { status: StatusObject }).status);
  assert.deepEqual([(refused as StatusObject).code, (refused as StatusObject).details], [14, DRAINING]);
  const late = await stream.answer(stream.work(batchOf([2])));
  assert.deepEqual(late.failed, ["0:RETRY:CANCELLED"]);
  open();
  assert.equal((await stream.answer(held)).outputs.length, 1);
  assert.equal((await stream.status).code, 0);
  await stopped;
});

test("a stream that breaks aborts its calls", async () => {
  let reason: unknown;
  const begun = gate();
  const hang = node("hang").map(async (_, { signal }) => {
    signal.addEventListener("abort", () => void (reason = signal.reason));
    begun.open();
    await new Promise(() => undefined);
    return 1;
  });
  const { address } = await start(hang);
  const stream = await new Client(address).process();
  stream.work(batchOf([1]), { timeout: second });
  await begun.opened;
  stream.raw.cancel();
  await eventually("abort", () => reason !== undefined);
});

test("a coordinator that does not read stops the handlers, and loses nothing", async () => {
  let calls = 0;
  const payload = "x".repeat(1_000_000);
  const big = node("big", { concurrency: 4 }).map(async () => {
    calls++;
    await Promise.resolve();
    return payload;
  });
  const { address } = await start(big);
  const stream = await new Client(address).process();
  stream.raw.pause();
  const sequence = stream.work(batchOf(Array.from({ length: 120 }, (_, i) => i)));
  let before = -1;
  await eventually("the handlers pause", async () => {
    const still = calls === before && calls > 0;
    before = calls;
    await new Promise((resolve) => setTimeout(resolve, 100));
    return still;
  });
  assert.ok(calls < 100, `${calls} calls ran though nobody read`);
  stream.raw.resume();
  assert.equal((await stream.answer(sequence)).outputs.length, 120);
});
