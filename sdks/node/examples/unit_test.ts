// Unit test: the reject node in node:test, in-process, with no coordinator.

// snippet:start
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "meshloom/testing";
import { fahrenheit } from "./reject.js";

test("readings without a temperature are rejected", async () => {
  const roof = { sensor: "roof", celsius: 31.5 };
  const result = await run(fahrenheit, [roof, { sensor: "gate" }], { redeliver: true, splits: "random" });
  assert.deepEqual(result.values, [{ ...roof, fahrenheit: 88.7 }]);
  assert.deepEqual(result.verdicts, ["output", "reject NO_TEMPERATURE"]);
  assert.deepEqual(result.redelivered?.values, result.values);
});
// snippet:end
