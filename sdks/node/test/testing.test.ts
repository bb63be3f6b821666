import assert from "node:assert/strict";
import { test } from "node:test";
import { drop, node, output, Reject, Retry } from "meshloom";
import { run } from "meshloom/testing";
import { split } from "../dist/esm/testing/splits.js";
import { z } from "zod";

test("run: outputs, drops, rejects, retries tried again, in any number of batches", async () => {
  const flaky = node("flaky", { routes: ["odd"] }).map((event, { attempt }) => {
    const n = event.json<number>();
    if (n === 3) return drop;
    if (n === 4) throw new Reject("four", { reason: "FOUR" });
    if (n === 5 && attempt < 3) throw new Retry("soon", { afterMs: 20 });
    return output({ n, attempt }, { key: event.key, route: n % 2 ? "odd" : undefined });
  });
  for (const splits of [1, 2, 100, "random"] as const) {
    const inputs = [1, output(2, { key: "two" }), 3, 4, 5];
    const result = await run(flaky, inputs, { attempts: 10, splits });
    assert.deepEqual(
      result.outputs.map(({ parent, value, key, route }) => ({ parent, value, key, route })),
      [
        { parent: 0, value: { n: 1, attempt: 1 }, key: undefined, route: "odd" },
        { parent: 1, value: { n: 2, attempt: 1 }, key: "two", route: undefined },
        { parent: 4, value: { n: 5, attempt: 3 }, key: undefined, route: "odd" },
      ],
    );
    assert.deepEqual(result.dropped, [2]);
    assert.deepEqual(result.verdicts, ["output", "output", "drop", "reject FOUR", "output"]);
    assert.deepEqual(result.rejected, [{ input: 3, reason: "FOUR", message: "four", afterMs: undefined, attempt: 1 }]);
    assert.deepEqual(
      result.retried.map(({ input, afterMs, attempt }) => [input, afterMs, attempt]),
      [
        [4, 20, 1],
        [4, 20, 2],
      ],
    );
  }
});

test("run: attributes in, attributes out; set-up and tear-down run; a wrong config is refused", async () => {
  const log: string[] = [];
  const attributes = node("attributes", {
    config: z.object({ suffix: z.string() }),
    setup: ({ config }) => {
      log.push("up");
      return { suffix: config.suffix, [Symbol.dispose]: () => void log.push("down") };
    },
  }).map((event, { state }) => {
    const { type, subject, id, source, timeNs, time, extensions, from, dataSchema, contentType } = event;
    assert.equal(time?.getTime(), 1);
    const seen = { type, subject, id, source, timeNs: String(timeNs), extensions, from, dataSchema, contentType };
    return output(seen, { subject: `${subject}${state.suffix}`, type: "", extensions: { a: null, b: 7, c: true } });
  });
  const when = new Date(1);
  const input = output("x", {
    type: "t",
    subject: "s",
    id: "i",
    source: "here",
    dataSchema: "d",
    time: when,
    extensions: { a: "x", at: when, raw: Buffer.from("r"), link: new URL("http://a/b") },
  });
  const { outputs } = await run(attributes, [input], { config: { suffix: "!" } });
  const [only] = outputs;
  assert.deepEqual(only!.value, {
    type: "t",
    subject: "s",
    id: "i",
    source: "here",
    timeNs: "1000000",
    extensions: { a: "x", at: when.toISOString(), raw: { type: "Buffer", data: [114] }, link: "http://a/b" },
    dataSchema: "d",
    contentType: "application/json",
  });
  assert.deepEqual([only!.subject, only!.type, only!.key], ["s!", undefined, undefined]);
  assert.deepEqual([only!.extensions["a"], only!.extensions["b"], only!.extensions["c"]], [null, 7, true]);
  assert.deepEqual(log, ["up", "down"]);
  await assert.rejects(run(attributes, [1], { config: {} }), /the config of attributes is refused: suffix/);
});

test("run: sources resume and end, or are stopped after a number of events", async () => {
  const count = node("count").source<number>(function* ({ checkpoint = 0 }) {
    for (let n = checkpoint + 1; n <= 10; n++) yield output(n, { checkpoint: n });
  });
  const rest = await run(count, [], { checkpoint: 7 });
  assert.deepEqual([rest.values, rest.checkpoint, rest.exhausted], [[8, 9, 10], 10, true]);
  const some = await run(count, [], { limit: 2 });
  assert.deepEqual([some.values, some.checkpoint, some.exhausted], [[1, 2], 2, false]);
});

test("run: a timeout aborts the signal; failures of a whole batch are named so", async () => {
  const hang = node("hang").map(
    (_, { signal }) =>
      new Promise<number>((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("aborted")))),
  );
  const { retried } = await run(hang, [1], { timeoutMs: 20 });
  assert.equal(retried[0]!.reason, "TIMEOUT");
  const broken = node("broken").batch(() => {
    throw new Error("all of it");
  });
  const failed = await run(broken, [1, 2]);
  assert.deepEqual([failed.retried[0]!.input, failed.retried[0]!.message], [-1, "all of it"]);
});

test("the deadline is the timeout from now by the wall clock, also after that was set", async (t) => {
  const read = node("read").map((_, { deadline }) => deadline!.getTime() - Date.now());
  for (const step of [0, -3_600_000, 3_600_000]) {
    const clock = t.mock.method(Date, "now", () => Math.trunc(performance.timeOrigin + performance.now()) + step);
    const { values } = await run(read, [1], { timeoutMs: 60_000 });
    clock.mock.restore();
    const left = values[0] as number;
    assert.ok(left > 0 && left <= 60_000, `${left} ms are left of 60,000`);
  }
});

test("run: spans of the node and of the user's own, nested", async () => {
  const traced = node("traced").map(async (event, { tracer }) => {
    await Promise.resolve();
    tracer.startActiveSpan("user-work", (span) => span.end());
    if (event.json<number>() === 2) throw new Error("no");
    return 1;
  });
  const { spans } = await run(traced, [1, 2], { spans: true });
  assert.deepEqual(
    spans.map(({ name, parent, error, attributes }) => [name, parent, error, attributes["meshloom.verdict"]]).sort(),
    [
      ["process traced", undefined, false, "delivered"],
      ["process traced", undefined, true, "retry"],
      ["user-work", "process traced", false, undefined],
      ["user-work", "process traced", false, undefined],
    ],
  );
  const sent = await run(
    node("src").source(() => [1, 2]),
    [],
    { spans: true },
  );
  assert.deepEqual(
    sent.spans.map(({ name }) => name),
    ["send src", "send src"],
  );
  assert.deepEqual((await run(traced, [1])).spans, []);
});

test("run: every event twice, under the same uid, as the next attempt", async () => {
  const seen = new Map<string, number[]>();
  const once = node("once").map((event, { attempt }) => {
    seen.set(event.uid, [...(seen.get(event.uid) ?? []), attempt]);
    return seen.get(event.uid)!.length;
  });
  const { values, redelivered } = await run(once, ["a", "b"], { redeliver: true });
  assert.deepEqual(
    [values, redelivered!.values],
    [
      [1, 1],
      [2, 2],
    ],
  );
  assert.deepEqual(
    [...seen.values()],
    [
      [1, 2],
      [1, 2],
    ],
  );
  assert.equal((await run(once, ["a"])).redelivered, undefined);
});

test("run: random batches are the same again by their seed, and together they are the inputs", async () => {
  const items = Array.from({ length: 500 }, (_, i) => i);
  for (const seed of [0, 1, 2 ** 32 - 1]) {
    const parts = split(items, "random", seed);
    assert.deepEqual(parts.flat(), items);
    assert.deepEqual(split(items, "random", seed), parts);
    assert.ok(parts.some((part) => part.length === 1) && parts.some((part) => part.length > 8));
  }
  assert.notDeepEqual(split(items, "random", 1), split(items, "random", 2));
  assert.deepEqual(
    split([1, 2, 3, 4, 5], 2, 0).map((part) => part.length),
    [3, 2],
  );
  const sizes: number[] = [];
  const count = node("count").batch((rows, out) => {
    sizes.push(rows.count);
    for (let i = 0; i < rows.count; i++) out.pass(i);
  });
  const { values } = await run(count, items, { splits: "random", seed: 7 });
  assert.deepEqual(values, items);
  assert.deepEqual(
    sizes,
    split(items, "random", 7).map((part) => part.length),
  );
  await assert.rejects(run(count, [], { splits: 0 }), /splits must be a number of batches from 1, or "random", not 0/);
  await assert.rejects(run(count, [], { attempts: 0.5 }), /attempts must be a whole number from 1/);
});

test("run: a cancellation reaches the handler; what was not begun is not called", async () => {
  const cancel = new AbortController();
  const called: unknown[] = [];
  const slow = node("slow", { concurrency: 1 }).map(async (event, { signal }) => {
    called.push(event.json());
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    cancel.abort();
    await aborted;
    return 1;
  });
  const { verdicts, values } = await run(slow, [1, 2, 3], { signal: cancel.signal, splits: 2, attempts: 5 });
  assert.deepEqual(verdicts, ["retry CANCELLED", "retry CANCELLED", "retry CANCELLED"]);
  assert.deepEqual([called, values], [[1], []]);
});

test("run: sources whose events settle, or do not", async () => {
  for (const settle of [true, false]) {
    const told: string[] = [];
    const rows = node("rows").source<number>(
      function* () {
        yield output("a", { checkpoint: 1, settled: () => told.push("a"), time: 5n });
      },
      { settled: (checkpoint) => told.push(`checkpoint ${checkpoint}`) },
    );
    const { outputs } = await run(rows, [], { settle });
    assert.equal(outputs[0]!.timeNs, 5n);
    assert.deepEqual(told, settle ? ["a", "checkpoint 1"] : []);
  }
});
