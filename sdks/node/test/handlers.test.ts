import assert from "node:assert/strict";
import { test } from "node:test";
import { drop, node, output, Reject, Retry } from "meshloom";
import { z } from "zod";
import { batchOf, Client, eventually, start, strings, u32 } from "./harness.js";

interface Row {
  n: number;
  do?: string;
}

const map = node("map", { routes: ["side"] }).map(async (event, { attempt }) => {
  const { n, do: what } = event.json<Row>();
  await Promise.resolve();
  switch (what) {
    case "drop":
      return drop;
    case "reject":
      throw new Reject("asked to", { reason: "TEST_REJECT" });
    case "retry":
      throw new Retry("later", { afterMs: 1500 });
    case "fail":
      throw new Error("boom", { cause: new TypeError("deep") });
    case "none":
      return undefined as never;
    case "null":
      return output(null);
    case "bytes":
      return Buffer.from("raw");
    case "bigint":
      return { big: 1n };
    case "route":
      return output({ n }, { route: "side", key: `k${n}` });
    case "stray":
      return output({ n }, { route: "nowhere" });
    case "key-too-long":
      return output({ n }, { key: "k".repeat(1025) });
    default:
      return { n, attempt };
  }
});

test("map: values, drop, reject, retry, any error, nothing, limits", async () => {
  const { address } = await start(map);
  const stream = await new Client(address).process();
  const kinds = ["pass", "drop", "reject", "retry", "fail", "none", "null", "bigint", "route", "stray", "key-too-long"];
  const rows = kinds.map((kind, n) => ({ n, do: kind }));
  const answer = await stream.handle(rows, { attempts: u32(kinds.map(() => 3)) });
  assert.deepEqual(
    answer.outputs.map(({ parent, value, key, route }) => ({ parent, value, key, route })),
    [
      { parent: 0, value: { n: 0, attempt: 3 }, key: undefined, route: undefined },
      { parent: 6, value: null, key: undefined, route: undefined },
      { parent: 8, value: { n: 8 }, key: "k8", route: "side" },
    ],
  );
  assert.equal(answer.consumed, 1);
  assert.deepEqual(answer.failed, [
    "2:REJECT:TEST_REJECT",
    "3:RETRY:RETRY",
    "4:RETRY:HANDLER_ERROR",
    "5:REJECT:NO_RESULT",
    "7:REJECT:OUTPUT_INVALID",
    "9:REJECT:ROUTE_UNDECLARED",
    "10:REJECT:ATTRIBUTE_TOO_LARGE",
  ]);
  const by = new Map(answer.failures.map((failure) => [failure.index, failure]));
  assert.deepEqual(by.get(3)!.retryAfter, { seconds: 1n, nanos: 500_000_000 });
  assert.equal(by.get(4)!.message, "boom: TypeError: deep");
  assert.match(by.get(5)!.message, /return a value, drop .*output\(null\)/);
  assert.match(by.get(9)!.message, /"nowhere" is not declared: add it to the node's routes; declared: side/);
});

test("map: bytes are octet-stream, JSON is application/json, the parent's type is never inherited", async () => {
  const { address } = await start(map);
  const stream = await new Client(address).process();
  const answer = await stream.handle([{ n: 0, do: "bytes" }, { n: 1 }], {}, { contentType: strings(["text/csv"]) });
  const { contentType, payload } = answer.results[0]!.outputs!;
  assert.equal(Buffer.from(contentType!.values!.data).toString(), "application/octet-streamapplication/json");
  assert.equal(Buffer.from(payload!.data).toString(), 'raw{"n":1,"attempt":1}');
});

test("filter answers with indexes alone", async () => {
  const filter = node("filter").filter((event) => {
    const { n } = event.json<Row>();
    return n === 3 ? (1 as never) : n % 2 === 0;
  });
  const { address } = await start(filter);
  const stream = await new Client(address).process();
  const answer = await stream.handle([{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }]);
  assert.deepEqual(
    answer.outputs.map((output) => output.parent),
    [0, 2],
  );
  assert.equal(answer.results[0]!.outputs!.payload, undefined);
  assert.equal(answer.consumed, 1);
  assert.deepEqual(answer.failed, ["3:REJECT:NOT_BOOL"]);
});

test("flatMap: generators, async generators, arrays, none; outputs of a failed call are forgotten", async () => {
  const flat = node("flat").flatMap((event) => {
    const { n, do: what } = event.json<Row>();
    function* sync() {
      yield { n, part: 0 };
      yield output({ n, part: 1 }, { key: "k" });
      if (what === "fail") throw new Error("half way");
    }
    async function* async() {
      yield { n, part: 0 };
      await Promise.resolve();
      yield { n, part: 1 };
    }
    if (what === "async") return async();
    if (what === "array") return [{ n }];
    if (what === "none") return [];
    if (what === "drop") return drop;
    if (what === "string") return "abc" as never;
    return sync();
  });
  const { address } = await start(flat);
  const stream = await new Client(address).process();
  const kinds = ["sync", "fail", "async", "array", "none", "string", "drop"];
  const answer = await stream.handle(kinds.map((kind, n) => ({ n, do: kind })));
  assert.deepEqual(
    answer.outputs.map((output) => output.parent),
    [0, 0, 2, 2, 3],
  );
  assert.equal(answer.consumed, 2);
  assert.deepEqual(answer.failed, ["1:RETRY:HANDLER_ERROR", "5:REJECT:NOT_ITERABLE"]);
});

test("flatMap: outputs past 1 MiB travel before the call ends, marked as continued", async () => {
  const chunk = "x".repeat(300_000);
  const flat = node("flat").flatMap(async function* (event) {
    const { n } = event.json<Row>();
    for (let part = 0; part < 10; part++) {
      await Promise.resolve();
      yield { n, part, chunk };
    }
  });
  const { address } = await start(flat);
  const stream = await new Client(address).process();
  const answer = await stream.handle([{ n: 0 }, { n: 1 }, { n: 2 }]);
  const seen = answer.outputs.map(({ parent, value }) => `${parent}.${(value as { part: number }).part}`);
  assert.deepEqual(
    [...seen].sort((a, b) => Number(a) - Number(b)),
    [0, 1, 2].flatMap((n) => Array.from({ length: 10 }, (_, part) => `${n}.${part}`)),
  );
  assert.ok(answer.results.some((result) => result.outputs?.continued));
  // Whoever goes on is in the next result, and closes once.
  let going: number | undefined;
  const closed = new Set<number>();
  for (const { outputs } of answer.results) {
    if (outputs === undefined) continue;
    const parents = outputs.parent.length === 0 ? [0, 1, 2] : [...new Set(new Answerless(outputs.parent).numbers)];
    if (going !== undefined) assert.equal(parents[0], going);
    going = outputs.continued ? parents.at(-1) : undefined;
    for (const parent of parents) {
      assert.ok(!closed.has(parent), `input ${parent} is named after it was closed`);
      if (parent !== going) closed.add(parent);
    }
  }
  assert.equal(closed.size, 3);
  assert.equal(answer.consumed, 0);
});

class Answerless {
  readonly numbers: number[];
  constructor(bytes: Uint8Array) {
    this.numbers = [...new Uint32Array(new Uint8Array(bytes).buffer)];
  }
}

test("sink: to return is to deliver", async () => {
  const got: unknown[] = [];
  const sink = node("sink").sink(async (event) => {
    await Promise.resolve();
    if (event.json<Row>().do === "fail") throw new Error("down");
    got.push(event.uid);
  });
  const { address } = await start(sink);
  const stream = await new Client(address).process();
  const answer = await stream.handle([{ n: 0 }, { n: 1, do: "fail" }, { n: 2 }]);
  assert.equal(answer.consumed, 2);
  assert.deepEqual(answer.failed, ["1:RETRY:HANDLER_ERROR"]);
  assert.deepEqual(got, ["0".repeat(32), `${"0".repeat(31)}2`]);
});

test("batch: emit, pass, drop, reject, retry by row; forgotten rows are UNACCOUNTED; a throw fails the whole work", async () => {
  const batch = node("batch").batch((rows, out) => {
    for (let i = 0; i < rows.count; i++) {
      const { n, do: what } = rows.json<Row>(i);
      if (what === "split") for (const part of [0, 1]) out.emit(i, { n, part });
      else if (what === "pass") out.pass(i);
      else if (what === "drop") out.drop([i]);
      else if (what === "reject") out.reject(i, "no", { reason: "BAD" });
      else if (what === "retry") out.retry(i, "later", { afterMs: 10 });
      else if (what === "poison") throw new Error("poison");
      else if (what === "twice") {
        out.drop(i);
        out.pass(i);
      }
    }
  });
  const { address } = await start(batch);
  const stream = await new Client(address).process();
  const kinds = ["split", "pass", "drop", "reject", "retry", "forget"];
  const answer = await stream.handle(kinds.map((kind, n) => ({ n, do: kind })));
  assert.deepEqual(
    answer.outputs.map(({ parent, value }) => ({ parent, value })),
    [
      { parent: 0, value: { n: 0, part: 0 } },
      { parent: 0, value: { n: 0, part: 1 } },
      { parent: 1, value: { n: 1, do: "pass" } },
    ],
  );
  assert.equal(answer.consumed, 1);
  assert.deepEqual(answer.failed, ["3:REJECT:BAD", "4:RETRY:RETRY", "5:RETRY:UNACCOUNTED"]);
  const poison = await stream.handle([
    { n: 0, do: "pass" },
    { n: 1, do: "poison" },
  ]);
  assert.deepEqual([poison.outputs, poison.consumed], [[], 0]);
  assert.deepEqual(poison.failed, ["4294967295:RETRY:HANDLER_ERROR"]);
  const twice = await stream.handle([{ n: 0, do: "twice" }]);
  assert.deepEqual(twice.failed, ["4294967295:RETRY:RESULT_INDEX_REPEATED"]);
});

test("batch: columns without copies, outputs of the whole batch", async () => {
  const seen: unknown[] = [];
  const batch = node("batch").batch(async (rows, out) => {
    await Promise.resolve();
    seen.push(
      rows.data.toString(),
      [...rows.ends],
      rows.key(1),
      rows.uid(1),
      rows.payload(1).buffer === rows.data.buffer,
    );
    out.whole({ count: rows.count }, { key: "all" });
    out.pass(1);
  });
  const { address } = await start(batch);
  const stream = await new Client(address).process();
  const answer = await stream.handle([1, 2, 3], {}, { key: strings(["a", "b"], [0, 1, 0xffff_ffff]) });
  assert.deepEqual(seen, ["123", [1, 2, 3], "b", `${"0".repeat(31)}1`, true]);
  assert.deepEqual(
    answer.outputs.map(({ parent, value, key }) => ({ parent, value, key })),
    [
      { parent: 1, value: 2, key: undefined },
      { parent: 0xffff_ffff, value: { count: 3 }, key: "all" },
    ],
  );
  assert.equal(answer.consumed, 2);
});

test("input schema: the value is typed and checked, a misfit names its field", async () => {
  const Reading = z.object({ sensor: z.string(), celsius: z.number() });
  const typed = node("typed", { input: Reading }).map((reading) => ({ hot: reading.celsius > 30 }));
  const { address } = await start(typed);
  const stream = await new Client(address).process();
  const answer = await stream.handle([
    { sensor: "a", celsius: 31 },
    { sensor: "a", celsius: "x" },
  ]);
  assert.deepEqual(answer.outputs[0]!.value, { hot: true });
  assert.deepEqual(answer.failed, ["1:REJECT:PAYLOAD_MISMATCH"]);
  assert.match(answer.failures[0]!.message, /celsius: .*expected number/i);
  const raw = await stream.answer(
    stream.work({ ...batchOf([0]), payload: { data: Buffer.from("{"), ends: u32([1]) } }),
  );
  assert.deepEqual(raw.failed, ["0:REJECT:PAYLOAD_MISMATCH"]);
});

test("several handlers in one process, described", async () => {
  const { address } = await start(
    map,
    node("src", { description: "numbers" }).source(() => [1], { replays: false, partitioned: true }),
  );
  const client = new Client(address);
  const { sdk, protocol, handlers } = await client.describe();
  assert.equal(sdk?.language, "node");
  assert.deepEqual(protocol, { min: 1, max: 1 });
  assert.deepEqual(
    handlers.map(({ name, role, routes, replays, partitioned, description }) => [
      name,
      role,
      routes,
      replays,
      partitioned,
      description,
    ]),
    [
      ["map", 1, ["side"], false, false, ""],
      ["src", 6, [], false, true, "numbers"],
    ],
  );
  const stream = await client.process({ handler: "map" });
  assert.equal((await stream.handle([{ n: 1 }])).outputs.length, 1);
});

test("slow calls do not hold back the results of quick ones", async () => {
  let release!: () => void;
  const slow = new Promise<void>((resolve) => (release = resolve));
  const mixed = node("mixed").map(async (event) => {
    const { n } = event.json<Row>();
    if (n === 0) await slow;
    return { n };
  });
  const { address } = await start(mixed);
  const stream = await new Client(address).process();
  const sequence = stream.work(batchOf([{ n: 0 }, { n: 1 }, { n: 2 }]));
  const early = await stream.until("result");
  assert.deepEqual([early.value.last, early.value.outputs?.count], [false, 2]);
  release();
  const rest = await stream.answer(sequence);
  assert.deepEqual(
    rest.outputs.map(({ parent }) => parent),
    [0],
  );
  await eventually("busy is reported", () => rest.results.at(-1)!.busy !== undefined);
});
