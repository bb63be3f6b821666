import assert from "node:assert/strict";
import { test } from "node:test";
import type { StatusObject } from "@grpc/grpc-js";
import { ConfigError, durationMs, node, sizeBytes } from "meshloom";
import { z } from "zod";
import type { OpenProcess } from "../dist/esm/gen/meshloom/v1/process.js";
import { Client, start } from "./harness.js";

async function refusal(address: string, open: Partial<OpenProcess> & { config?: unknown }): Promise<StatusObject> {
  try {
    await new Client(address).process(open);
  } catch (error) {
    return (error as { status: StatusObject }).status;
  }
  throw new Error("the open was accepted");
}

/** The serialized details as text: enough to find names and messages in. */
const details = (status: StatusObject): string => String(status.metadata.get("grpc-status-details-bin")[0]);

test("a config is refused with a violation per field", async () => {
  const config = z.object({ label: z.string(), count: z.int().default(0) });
  const { address } = await start(node("typed", { config }).map(() => 1));
  const wrong = await refusal(address, { config: { count: "x" } });
  assert.equal(wrong.code, 3);
  assert.match(wrong.details, /the config of typed is refused: label: .*; count: /);
  assert.match(details(wrong), /google.rpc.BadRequest/);
  // z.object strips unknown keys in silence; the SDK does not.
  const unknown = await refusal(address, { config: { label: "x", lable: 1 } });
  assert.match(unknown.details, /lable: unknown key; known: label, count/);
  const noJson = await refusal(address, { configJson: Buffer.from("{") });
  assert.match(noJson.details, /not UTF-8 JSON/);
  const noObject = await refusal(address, { configJson: Buffer.from("[]") });
  assert.match(noObject.details, /must be a JSON object, not an array/);
  const stream = await new Client(address).process({ config: { label: "x" } });
  assert.equal((await stream.handle([1])).outputs.length, 1);
});

test("strict and loose schemas say themselves what they do with unknown keys", async () => {
  const strict = node("strict", { config: z.strictObject({ a: z.int().optional() }) }).map(() => 1);
  const loose = node("loose", { config: z.looseObject({ a: z.int().optional() }) }).map((_, { config }) => config);
  const { address } = await start(strict, loose);
  assert.equal((await refusal(address, { handler: "strict", config: { b: 1 } })).code, 3);
  const stream = await new Client(address).process({ handler: "loose", config: { b: 1 } });
  assert.deepEqual((await stream.handle([1])).outputs[0]!.value, { b: 1 });
});

test("all that is wrong with a config is told at once, with paths; unknown keys at any depth; durations by name", async () => {
  const config = z.object({
    limits: z.object({ rate: z.number(), wait: z.string().default("1s").transform(durationMs) }),
    sensors: z.array(z.object({ name: z.string() })),
    room: z
      .string()
      .optional()
      .transform((text) => (text === undefined ? 0 : sizeBytes(text))),
  });
  const { address } = await start(node("deep", { config }).map((_, { config: read }) => read));
  const wrong = { limits: { rate: "x", wiat: 1, wait: "soon" }, sensors: [{ name: "a" }, { name: 2, nmae: 3 }], x: 1 };
  const { details: told } = await refusal(address, { config: wrong });
  for (const part of [
    "limits.wiat: unknown key; known: rate, wait",
    "sensors[1].nmae: unknown key; known: name",
    "x: unknown key; known: limits, sensors, room",
    "limits.rate: Invalid input",
    'limits.wait: "soon" is not a duration; write it like 10s',
    "sensors[1].name: Invalid input",
  ]) {
    assert.ok(told.includes(part), `${part} is not in ${told}`);
  }
  // A reader that only throws: the field is found by its text.
  const thrown = await refusal(address, { config: { limits: { rate: 1 }, sensors: [], room: "ten" } });
  assert.match(thrown.details, /room: "ten" is not a size; write it like 64MiB/);
  const stream = await new Client(address).process({ config: { limits: { rate: 1 }, sensors: [] } });
  assert.deepEqual((await stream.handle([1])).outputs[0]!.value, {
    limits: { rate: 1, wait: 1000 },
    sensors: [],
    room: 0,
  });
});

test("without a schema any JSON object is a config; Describe carries the schema of a declared one", async () => {
  const free = node("free").map((_, { config }) => config);
  const typed = node("typed", { config: z.object({ label: z.string() }) }).map(() => 1);
  const { address } = await start(free, typed);
  const client = new Client(address);
  const stream = await client.process({ handler: "free", config: { any: [1] } });
  assert.deepEqual((await stream.handle([1])).outputs[0]!.value, { any: [1] });
  const [first, second] = (await client.describe()).handlers;
  assert.equal(first!.configSchema.length, 0);
  assert.deepEqual((JSON.parse(Buffer.from(second!.configSchema).toString()) as { required: unknown }).required, [
    "label",
  ]);
});

test("set-up runs once per config and is shared; tear-down runs once, after drain", async () => {
  const log: string[] = [];
  const shared = node("shared", {
    setup: async ({ config }) => {
      await Promise.resolve();
      log.push(`up ${JSON.stringify(config)}`);
      return { [Symbol.asyncDispose]: () => Promise.resolve(void log.push(`down ${JSON.stringify(config)}`)) };
    },
  }).map(() => 1);
  const { address, stop } = await start(shared);
  const client = new Client(address);
  await client.process({ config: { a: 1 } });
  const again = await client.process({ config: { a: 1 } });
  await client.process({ config: { a: 2, b: { d: 1, c: 2 } } });
  // The same config, written otherwise; no config is an empty one.
  await client.process({ configJson: Buffer.from(' { "b": {"c": 2, "d": 1}, "a": 2 }') });
  await client.process();
  await client.process({ config: {} });
  await again.handle([1]);
  await stop();
  assert.deepEqual(log, [
    'up {"a":1}',
    'up {"a":2,"b":{"d":1,"c":2}}',
    "up {}",
    "down {}",
    'down {"a":2,"b":{"d":1,"c":2}}',
    'down {"a":1}',
  ]);
});

test("set-up that fails is UNAVAILABLE, a ConfigError is final", async () => {
  let tries = 0;
  const flaky = node("flaky", {
    setup: () => {
      if (++tries === 1) throw new Error("the database is down");
      return 1;
    },
  }).map((_, { state }) => state);
  const refusing = node("refusing", {
    setup: () => {
      throw new ConfigError([{ field: "env.TOKEN", message: "set TOKEN" }]);
    },
  }).map(() => 1);
  const { address } = await start(flaky, refusing);
  const down = await refusal(address, { handler: "flaky" });
  assert.equal(down.code, 14);
  assert.match(down.details, /set-up of flaky failed: the database is down/);
  assert.match(details(down), /SETUP_FAILED/);
  await new Client(address).process({ handler: "flaky" });
  const final = await refusal(address, { handler: "refusing" });
  assert.equal(final.code, 3);
  assert.match(details(final), /env\.TOKEN/);
});

test("protocol ranges without overlap are refused, and the side to upgrade is named", async () => {
  const { address } = await start(node("x").map(() => 1));
  const newer = await refusal(address, { protocol: { min: 2, max: 3 } });
  assert.equal(newer.code, 9);
  assert.match(newer.details, /upgrade the node's package meshloom .*protocol 2/);
  assert.match(details(newer), /PROTOCOL_UNSUPPORTED/);
  assert.match(details(newer).replaceAll(/[^ -~]+/g, " "), / upgrade node to 2$/);
  for (const protocol of [undefined, { min: 0, max: 1 }, { min: 3, max: 2 }]) {
    const none = await refusal(address, { protocol });
    assert.equal(none.code, 3);
    assert.match(none.details, /protocol: a range of versions from 1 is needed, not /);
  }
  await new Client(address).process({ protocol: { min: 1, max: 9 } });
});

test("an unknown handler, none named of several, the wrong service", async () => {
  const { address } = await start(
    node("a").map(() => 1),
    node("b").source(() => []),
  );
  for (const [handler, code, reason, says] of [
    ["c", 5, "HANDLER_UNKNOWN", /no handler "c"; this process serves a, b/],
    ["", 5, "HANDLER_UNKNOWN", /none was named; this process serves a, b/],
    ["b", 9, "HANDLER_ROLE_MISMATCH", /served by Produce, not by Process/],
  ] as const) {
    const refused = await refusal(address, { handler });
    assert.equal(refused.code, code);
    assert.ok(details(refused).includes(reason));
    assert.match(refused.details, says);
  }
});

test("durations and sizes", () => {
  assert.equal(durationMs("1m30s"), 90_000);
  assert.equal(durationMs("250ms"), 250);
  assert.equal(sizeBytes("64MiB"), 67_108_864);
  assert.equal(sizeBytes("1.5kB"), 1500);
  assert.throws(() => durationMs("10"), /write it like 10s/);
  assert.throws(() => sizeBytes("ten"), /write it like 64MiB/);
});

test("mistakes in a node's definition are named at once", () => {
  assert.throws(() => node("Bad Name"), /must look like/);
  assert.throws(() => node("x", { concurrency: 0 }), /concurrency must be a whole number/);
  assert.throws(() => node("x", { limits: { maxBatchEvents: 70_000 } }), /from 1 to 65536/);
  assert.throws(() => node("x", { routes: ["rejected"] }), /reserved/);
  assert.throws(() => node("x").map(undefined as never), /needs a function/);
});
