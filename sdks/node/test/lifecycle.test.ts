import assert from "node:assert/strict";
import { test } from "node:test";
import { node } from "meshloom";
import { Ordering } from "../dist/esm/gen/meshloom/v1/process.js";
import { batchOf, Client, eventually, gate, start, strings } from "./harness.js";

const second = { seconds: 1n, nanos: 0 };

test("cancel: signals abort, calls past their time are TIMEOUT, the rest CANCELLED, late results are ignored", async () => {
  const started: number[] = [];
  const aborted: unknown[] = [];
  const late = gate();
  const slow = node("slow", { concurrency: 2 }).map(async (event, { signal }) => {
    const n = event.json<number>();
    started.push(n);
    if (n === 2) return n;
    signal.addEventListener("abort", () => aborted.push(signal.reason));
    await late.opened;
    return n;
  });
  const { address } = await start(slow);
  const stream = await new Client(address).process();
  const sequence = stream.work(batchOf([0, 1, 2]), { timeout: { seconds: 0n, nanos: 1_000_000 } });
  await eventually("both time signals", () => aborted.length === 2);
  stream.cancel(sequence);
  const answer = await stream.answer(sequence);
  assert.deepEqual(answer.failed, ["0:RETRY:TIMEOUT", "1:RETRY:TIMEOUT", "2:RETRY:CANCELLED"]);
  assert.equal((aborted[0] as Error).name, "TimeoutError");
  // The taken-back calls hold no places, and what they return later changes nothing.
  const next = await stream.handle([2]);
  assert.equal(next.outputs.length, 1);
  late.open();
  assert.equal((await stream.handle([2])).outputs.length, 1);
  assert.equal(stream.received.filter((r) => r.$case === "result" && r.value.sequence === sequence).length, 1);
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

test("a handler that heeds its signal at the timeout is answered TIMEOUT by itself", async () => {
  const polite = node("polite").map(async (_, { signal, deadline }) => {
    assert.ok(deadline!.getTime() - Date.now() < 1000);
    await new Promise<void>((_resolve, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason as Error)),
    );
    return 1;
  });
  const { address } = await start(polite);
  const stream = await new Client(address).process();
  const answer = await stream.handle([0], { timeout: { seconds: 0n, nanos: 30_000_000 } });
  assert.deepEqual(answer.failed, ["0:RETRY:TIMEOUT"]);
});

test("batch calls: timeout and cancel name the whole work", async () => {
  const hang = node("hang").batch(() => new Promise(() => undefined));
  const { address } = await start(hang);
  const stream = await new Client(address).process();
  const short = stream.work(batchOf([0, 1]), { timeout: { seconds: 0n, nanos: 1 } });
  const progress = await stream.until("progress");
  assert.equal(progress.value.calls[0]!.index, 0xffff_ffff);
  stream.cancel(short);
  assert.deepEqual((await stream.answer(short)).failed, ["4294967295:RETRY:TIMEOUT"]);
  const long = stream.work(batchOf([0, 1]), { timeout: { seconds: 60n, nanos: 0 } });
  await stream.until("progress");
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
