import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "meshloom/testing";
import { classify } from "./classify.js";
import { features, readForest } from "./forest.js";

const folder = mkdtempSync(join(tmpdir(), "classify-"));
after(() => rmSync(folder, { recursive: true }));

/** Up to 30 degrees: two of three samples share a leaf; above: one is alone. */
const model = {
  features: ["celsius", "hour_sin", "hour_cos"],
  samples: 3,
  warning: -0.55,
  critical: -0.6,
  trees: [{ feature: [0, -2, -2], threshold: [30, -2, -2], left: [1, -1, -1], right: [2, -1, -1], size: [3, 2, 1] }],
};
const path = join(folder, "model.json");
writeFileSync(path, JSON.stringify(model));

const reading = (celsius) => ({ sensor: "alpha", celsius, time: "2010-07-20T06:00:00Z" });

test("depth and score are those of an isolation forest", async () => {
  // c(3) = 2 (ln 2 + gamma) - 4/3; a leaf of 2 adds c(2) = 1, a leaf of 1 adds nothing.
  const c3 = 2 * (Math.log(2) + 0.5772156649015329) - 4 / 3;
  const { score } = readForest(JSON.stringify(model));
  assert.equal(score(features(20, "2010-07-20T06:00:00Z")), -(2 ** (-2 / c3)));
  assert.equal(score(features(40, "2010-07-20T06:00:00Z")), -(2 ** (-1 / c3)));
  const { values } = await run(classify, [reading(20), reading(40)], { config: { model: path } });
  assert.deepEqual(values, [
    { ...reading(20), prediction: "normal", score: -0.3172 },
    { ...reading(40), prediction: "warning", score: -0.5632 },
  ]);
});

test("the hour of day is a circle", () => {
  assert.deepEqual(features(1, "2010-07-20T06:00:00Z"), [1, 1, Math.fround(Math.cos(Math.PI / 2))]);
  assert.equal(features(1, "2010-07-20T12:30:00Z")[1], Math.fround(Math.sin((12.5 * Math.PI) / 12)));
});

test("a misfit is rejected with its field; another file than model.json is refused before the start", async () => {
  const { rejected } = await run(classify, [{ ...reading(1), celsius: null }], { config: { model: path } });
  assert.equal(rejected[0].reason, "PAYLOAD_MISMATCH");
  assert.match(rejected[0].message, /celsius/);
  await assert.rejects(run(classify, [], { config: { model: `${path}.joblib` } }), /must be the model.json/);
  writeFileSync(`${path}.other`, "{}");
  await assert.rejects(run(classify, [], { config: { model: `${path}.other` } }), /cannot be used/);
});
