// Any Standard Schema types and checks payload and config: three libraries, one behaviour.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type } from "arktype";
import { durationMs, node } from "meshloom";
import { run } from "meshloom/testing";
import * as v from "valibot";
import { z } from "zod";

const readings = {
  zod: node("zod", {
    config: z.strictObject({ limit: z.number().default(30), every: z.string().default("10s").transform(durationMs) }),
    input: z.object({ sensor: z.string(), at: z.object({ celsius: z.array(z.number()) }) }),
  }).map(({ sensor, at }, { config }) => ({ sensor, hot: at.celsius[0]! > config.limit, every: config.every })),

  valibot: node("valibot", {
    config: v.strictObject({
      limit: v.optional(v.number(), 30),
      every: v.pipe(v.optional(v.string(), "10s"), v.transform(durationMs)),
    }),
    input: v.object({ sensor: v.string(), at: v.object({ celsius: v.array(v.number()) }) }),
  }).map(({ sensor, at }, { config }) => ({ sensor, hot: at.celsius[0]! > config.limit, every: config.every })),

  arktype: node("arktype", {
    config: type({
      "+": "reject",
      limit: "number = 30",
      every: type("string")
        .pipe((text) => durationMs(text))
        .default("10s"),
    }),
    input: type({ sensor: "string", at: { celsius: "number[]" } }),
  }).map(({ sensor, at }, { config }) => ({ sensor, hot: at.celsius[0]! > config.limit, every: config.every })),
};

for (const [library, reading] of Object.entries(readings)) {
  test(`${library}: a payload that fits, one that does not, by its field`, async () => {
    const fits = { sensor: "roof", at: { celsius: [31.5] } };
    const { values, rejected } = await run(reading, [fits, { sensor: "roof", at: { celsius: [1, "hot"] } }, "text"]);
    assert.deepEqual(values, [{ sensor: "roof", hot: true, every: 10_000 }]);
    assert.deepEqual(
      rejected.map(({ input, reason }) => [input, reason]),
      [
        [1, "PAYLOAD_MISMATCH"],
        [2, "PAYLOAD_MISMATCH"],
      ],
    );
    assert.match(rejected[0]!.message, /at\.celsius\[1\]: /);
  });

  test(`${library}: a config that fits, and what is refused, by its field`, async () => {
    const { values } = await run(reading, [{ sensor: "roof", at: { celsius: [31.5] } }], {
      config: { limit: 40, every: "1m" },
    });
    assert.deepEqual(values, [{ sensor: "roof", hot: false, every: 60_000 }]);
    for (const [config, says] of [
      [{ limit: "x" }, /limit: /],
      [{ limti: 1 }, /limti: /],
      [{ every: "soon" }, /every: .*"soon" is not a duration; write it like 10s/],
    ] as const) {
      await assert.rejects(run(reading, [], { config }), says);
    }
  });
}

test("a schema that checks asynchronously is waited for", async () => {
  const slow = z.object({ n: z.number().refine(async (n) => (await Promise.resolve(n)) > 1, "too small") });
  const { values, rejected } = await run(
    node("slow", { input: slow }).map(({ n }) => n),
    [{ n: 2 }, { n: 1 }],
  );
  assert.deepEqual([values, rejected[0]!.message], [[2], "the payload does not fit: n: too small"]);
});
