import assert from "node:assert/strict";
import { test } from "node:test";
import { drop, node, output } from "meshloom";
import { CallTable } from "../dist/esm/transport/calls.js";
import { Client, readStrings, readValues, start } from "./harness.js";

interface Row {
  n: number;
}

test("outputs whose calls end in any order, with bytes, JSON, attributes and drops among them, ascend by input", async () => {
  const mixed = node("mixed", { concurrency: 64 }).map(async (event) => {
    const { n } = event.json<Row>();
    // Later inputs end first.
    for (let i = n % 7; i < 7; i++) await Promise.resolve();
    if (n % 5 === 0) return drop;
    if (n % 3 === 0) return Buffer.from(`"b${n}"`);
    return n % 2 === 0 ? output({ n }, { key: `k${n}` }) : { n, text: "ü€" };
  });
  const client = new Client((await start(mixed)).address);
  const stream = await client.process({ concurrency: 64 });
  const answer = await stream.handle(Array.from({ length: 100 }, (_, n) => ({ n })));
  const expected = [...Array(100).keys()]
    .filter((n) => n % 5 !== 0)
    .map((n) => {
      const value = n % 3 === 0 ? `b${n}` : n % 2 === 0 ? { n } : { n, text: "ü€" };
      return { parent: n, value, type: n % 3 === 0 ? "application/octet-stream" : "application/json" };
    });
  const types = answer.results.flatMap(({ outputs }) =>
    outputs === undefined ? [] : readStrings(outputs.contentType, outputs.count),
  );
  const found = answer.outputs.map(({ parent, value }, i) => ({ parent, value, type: types[i] }));
  assert.deepEqual(
    [...found].sort((a, b) => a.parent - b.parent),
    expected,
  );
  const keyed = answer.outputs.filter(({ parent }) => parent % 3 !== 0 && parent % 2 === 0);
  for (const { parent, key } of keyed) assert.equal(key, `k${parent}`);
});

test("inputs that pass before and after changed ones carry their own payloads", async () => {
  const some = node("some").batch((batch, out) => {
    for (let i = 0; i < batch.count; i++) {
      if (i % 4 === 2) out.emit(i, { changed: i });
      else out.pass(i);
    }
  });
  const client = new Client((await start(some)).address);
  const answer = await (await client.process()).handle(Array.from({ length: 12 }, (_, n) => ({ n })));
  assert.equal(answer.results.length, 1);
  const { outputs } = answer.results[0]!;
  const values = readValues(outputs!.payload!).map((value) => JSON.parse(value.toString()) as unknown);
  assert.deepEqual(
    values,
    Array.from({ length: 12 }, (_, n) => (n % 4 === 2 ? { changed: n } : { n })),
  );
});

test("the call that has the thread is reported with its own age, whatever went before it", () => {
  const mine = new CallTable(undefined, true);
  const theirs = new CallTable(mine.memory);
  const now = mine.clock.look();
  mine.enter(7, 3n, 0, now);
  assert.deepEqual(theirs.read(7, 10), [{ sequence: 3n, index: 0, start: now }]);
  while (performance.now() < now + 2);
  theirs.tick();
  const later = mine.clock.now();
  assert.ok(later >= now + 2, "a tick makes the clock move on");
  mine.next(1, later);
  assert.deepEqual(theirs.read(7, 10), [{ sequence: 3n, index: 1, start: later }]);
  const waiting = mine.begin(7, 3n, 1, later);
  mine.leave();
  assert.deepEqual(theirs.read(7, 10), [{ sequence: 3n, index: 1, start: later }]);
  mine.end(waiting);
  assert.deepEqual(theirs.read(7, 10), []);
  assert.deepEqual(theirs.read(8, 10), []);
});
