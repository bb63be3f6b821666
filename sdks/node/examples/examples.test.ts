// What each of the ten tasks is there to show.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "meshloom/testing";
import { average } from "./batch.js";
import { hot } from "./config.js";
import { unpack } from "./flat_map.js";
import { locate as locateBySetup } from "./setup.js";
import { locate as locateByService } from "./retry.js";
import { split } from "./route.js";
import { rows } from "./source.js";
import { locate as locateTraced } from "./span.js";

const roof = { sensor: "roof", celsius: 31.5 };
const cellar = { sensor: "cellar", celsius: 12 };
const folder = mkdtempSync(join(tmpdir(), "examples-"));
after(() => rmSync(folder, { recursive: true }));

test("config: defaults, a limit of the pipeline's, and what is refused", async () => {
  const now = { ...roof, time: new Date().toISOString() };
  assert.deepEqual((await run(hot, [now], { config: { window: "30d" } })).verdicts, ["output"]);
  assert.deepEqual((await run(hot, [now], { config: { limit: 40, window: "30d" } })).verdicts, ["drop"]);
  const old = { ...roof, time: "2010-07-20T00:00:00Z" };
  assert.deepEqual((await run(hot, [old])).verdicts, ["drop"]);
  await assert.rejects(run(hot, [], { config: { limit: 61, window: "5" } }), /limit: .*window: "5" is not a duration/);
});

test("setup: the table is read once, and closed", async () => {
  const places = join(folder, "places.csv");
  writeFileSync(places, "roof,Main Street 1\n");
  const { values } = await run(locateBySetup, [roof, cellar], { config: { places } });
  assert.deepEqual(values, [
    { ...roof, place: "Main Street 1" },
    { ...cellar, place: null },
  ]);
  await assert.rejects(
    run(locateBySetup, [], { config: { places: `${places}.none` } }),
    /set-up of locate failed: ENOENT/,
  );
});

test("retry: a busy service is asked again after two seconds", async () => {
  const { values, retried } = await run(locateByService, [roof, { sensor: "gate" }]);
  assert.deepEqual(values, [{ ...roof, place: "Main Street 1" }]);
  assert.deepEqual(
    retried.map(({ input, afterMs, message }) => [input, afterMs, message]),
    [[1, 2000, "too many requests"]],
  );
});

test("route: key and route by the reading, the payload as it came", async () => {
  const { outputs } = await run(split, [roof, cellar]);
  assert.deepEqual(
    outputs.map(({ value, key, route }) => [value, key, route]),
    [
      [roof, "roof", "hot"],
      [cellar, "cellar", undefined],
    ],
  );
});

test("flat map: one event for each reading, none for none", async () => {
  const { values, verdicts } = await run(unpack, [{ readings: [roof, cellar] }, { readings: [] }, { readings: [{}] }]);
  assert.deepEqual(values, [roof, cellar]);
  assert.deepEqual(verdicts, ["output", "drop", "reject PAYLOAD_MISMATCH"]);
});

test("batch: one average, and rejects", async () => {
  const { values, verdicts } = await run(average, [roof, { sensor: "gate" }, { ...cellar, celsius: 12.5 }]);
  assert.deepEqual(values, [{ readings: 2, celsius: 22 }]);
  assert.deepEqual(verdicts, ["drop", "reject NO_TEMPERATURE", "drop"]);
  assert.deepEqual((await run(average, [{}])).verdicts, ["reject NO_TEMPERATURE"]);
});

test("source: from behind the checkpoint on", async () => {
  const path = join(folder, "rows.ndjson");
  writeFileSync(path, [roof, cellar, roof].map((row) => `${JSON.stringify(row)}\n`).join(""));
  const { values, checkpoint, exhausted } = await run(rows, [], { config: { path }, checkpoint: 1 });
  assert.deepEqual([values, checkpoint, exhausted], [[cellar, roof], 3, true]);
});

test("span: the lookup is inside the event's own span", async () => {
  const { spans } = await run(locateTraced, [roof], { spans: true });
  assert.deepEqual(
    spans.map(({ name, parent }) => [name, parent]),
    [
      ["lookup", "process locate"],
      ["process locate", undefined],
    ],
  );
});
