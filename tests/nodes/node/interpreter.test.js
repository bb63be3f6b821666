// The interpreter, run by the SDK's own test kit.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { output, Timestamp, Uri, UriReference } from "meshloom";
import { run } from "meshloom/testing";
import { batch, filter, flatMap, map, narrow, queue, sink, source } from "./interpreter.js";

const failures = (list) => list.map(({ input, reason }) => `${input}:${reason}`);

test("map, filter, flat_map, narrow and sink: pass, drop, reject, retry, throw, panic, nothing", async () => {
  const commands = [
    { do: "pass" },
    { do: "drop" },
    { do: "reject", reason: "OWN" },
    { do: "retry", until: 2 },
    { do: "throw", message: "no" },
    { do: "panic", message: "no" },
    { do: "nothing" },
    { do: "unknown" },
    "no object",
  ];
  for (const [handler, nothing] of [
    [map, "6:NO_RESULT"],
    [narrow, "6:NO_RESULT"],
    [filter, "6:NOT_BOOL"],
    [flatMap, "6:NO_RESULT"],
    [sink, undefined],
  ]) {
    const { outputs, dropped, rejected, retried } = await run(handler, commands, { splits: commands.length });
    assert.deepEqual(
      outputs.map(({ parent, value }) => [parent, value]),
      handler === sink ? [] : [[0, { do: "pass" }]],
    );
    assert.deepEqual(dropped, handler === sink ? [0, 1, 6] : [1]);
    const others = ["2:OWN", nothing, "7:PAYLOAD_MISMATCH", "8:PAYLOAD_MISMATCH"].filter(Boolean);
    assert.deepEqual(failures(rejected), others);
    assert.deepEqual(failures(retried), ["3:RETRY", "4:HANDLER_ERROR", "5:HANDLER_ERROR"]);
  }
});

test("emit sets what it says, copy sets what it read, to the type and nanosecond", async () => {
  const extensions = {
    a: { type: "timestamp", value: "-1" },
    b: { type: "uri", value: "u:x" },
    c: { type: "uri_reference", value: "../x" },
    d: { type: "binary", value: "AP8=" },
    e: { type: "integer", value: -7 },
    f: { type: "boolean", value: true },
    g: { type: "string", value: "x" },
    h: null,
  };
  const read = {
    a: new Timestamp(-1n),
    b: new Uri("u:x"),
    c: new UriReference("../x"),
    d: Buffer.of(0, 255),
    e: -7,
    f: true,
    g: "x",
    h: null,
  };
  const out = { value: null, type: "t", key: "k", route: "left", id: "i", time: "5", extensions };
  const { outputs } = await run(flatMap, [
    { do: "emit", outputs: [out, { text: "é" }, { base64: "AP8=" }, { subject: "s" }] },
    output({ do: "copy" }, { subject: "s", extensions: { a: new Timestamp(-1n) } }),
  ]);
  const [first, text, bytes, passed, copied] = outputs;
  const { value, type, key, route, id } = first;
  assert.deepEqual({ value, type, key, route, id }, { value: null, type: "t", key: "k", route: "left", id: "i" });
  assert.deepEqual(first.extensions, read);
  assert.deepEqual([text.data.toString(), bytes.data], ["é", Buffer.of(0, 255)]);
  assert.deepEqual([passed.value.do, passed.subject], ["emit", "s"]);
  assert.deepEqual([copied.value, copied.subject, copied.contentType], [{ do: "copy" }, "s", "application/json"]);
  assert.deepEqual(copied.extensions, { a: new Timestamp(-1n) });
});

test("context and report tell what there is", async () => {
  const { values, spans } = await run(
    map,
    [
      { do: "report" },
      output({ do: "context" }, { key: "k", time: 7n }),
      output({ do: "note", n: 3 }, { key: "k" }),
      { do: "spans", names: ["outer", "inner"] },
      { do: "report" },
    ],
    { splits: 5, spans: true, config: { label: "L", wait: "1m30s", room: "64MiB" }, timeoutMs: 60_000 },
  );
  const [, context, , , report] = values;
  const { node, replica, key, time, label, wait_ms, room_bytes, attempt, subject } = context;
  assert.deepEqual(
    { node, replica, key, time, label, wait_ms, room_bytes, attempt, subject },
    {
      node: "map",
      replica: "map/0",
      key: "k",
      time: "7",
      label: "L",
      wait_ms: 90_000,
      room_bytes: 67_108_864,
      attempt: 1,
      subject: null,
    },
  );
  assert.ok(context.deadline_ms > 0 && context.deadline_ms <= 60_000);
  assert.match(context.trace, /^[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assert.deepEqual([report.notes, report.calls >= 5, report.setups >= 1, report.most], [[["k", 3]], true, true, 1]);
  const nested = spans.map(({ name, parent }) => `${parent}/${name}`);
  assert.ok(nested.includes("process map/outer") && nested.includes("outer/inner"));
});

test("stream, sleep, block, spin, allocate, log; a sleep that is cancelled notes its uid", async () => {
  const { values, retried } = await run(flatMap, [
    { do: "stream", count: 3, bytes: 2 },
    { do: "stream", count: 3, bytes: 2, fail_after: 1 },
    { do: "sleep", ms: 1 },
    { do: "block", ms: 1 },
    { do: "spin", ms: 1 },
    { do: "hold", ms: 1 },
    { do: "allocate", bytes: 1000 },
    { do: "log", message: "hello" },
  ]);
  assert.deepEqual(values.slice(0, 3).map(String), ["xx", "xx", "xx"]);
  assert.equal(values.length, 9);
  assert.deepEqual(failures(retried), ["1:HANDLER_ERROR"]);
  const late = await run(map, [{ do: "sleep", ms: 600_000 }], { timeoutMs: 20 });
  assert.deepEqual(failures(late.retried), ["0:TIMEOUT"]);
  const [{ cancelled }] = (await run(map, [{ do: "report" }])).values;
  assert.equal(cancelled.length, 1);
});

test("batch: rows in turn, whole outputs, and what must not be done", async () => {
  const rows = [
    { do: "pass" },
    { do: "drop" },
    { do: "reject", reason: "OWN" },
    { do: "retry" },
    { do: "nothing" },
    { do: "emit", outputs: [{ value: 1 }, { value: 2 }] },
    { do: "unknown" },
  ];
  const { outputs, dropped, rejected, retried } = await run(batch, rows);
  assert.deepEqual(
    outputs.map(({ parent }) => parent),
    [0, 5, 5],
  );
  assert.deepEqual(dropped, [1]);
  assert.deepEqual(failures(rejected), ["2:OWN", "6:PAYLOAD_MISMATCH"]);
  assert.deepEqual(failures(retried), ["3:RETRY", "4:UNACCOUNTED"]);
  const whole = await run(batch, [{ do: "whole", outputs: [{ value: 1 }] }, { do: "drop" }]);
  assert.deepEqual([whole.values, whole.outputs[0].parent, whole.dropped], [[1], -1, [0, 1]]);
  for (const what of ["twice", "misname"]) {
    assert.deepEqual(failures((await run(batch, [{ do: what }])).retried), ["-1:RESULT_INDEX_REPEATED"]);
  }
});

test("config: a command for all events, set-up that refuses or fails, the log", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "interpreter-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const log = join(folder, "log");
  const { dropped } = await run(map, [1], { config: { command: { do: "drop" }, log, label: "L" } });
  assert.deepEqual(dropped, [0]);
  assert.equal(readFileSync(log, "utf8"), "setup L\nteardown L\n");
  await assert.rejects(run(map, [], { config: { setup: "refuse" } }), /is refused: setup: asked/);
  await assert.rejects(run(map, [], { config: { setup: "fail" } }), /set-up of map failed: asked to fail/);
  await assert.rejects(run(map, [], { config: { setup: "fail_once" } }), /asked to fail/);
  await run(map, [], { config: { setup: "fail_once" } });
  await assert.rejects(run(map, [], { config: { lable: "x" } }), /lable: unknown key/);
});

test("sources: programs, checkpoints, what is settled", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "interpreter-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const log = join(folder, "log");
  const program = { count: 4, checkpoint_every: 2, ids: true, attributes: true, traceparent: "x", bytes: 3 };
  const { outputs, checkpoint, exhausted } = await run(source, [], { config: { program, log }, checkpoint: 1 });
  assert.deepEqual(
    outputs.map(({ id, key, type, extensions }) => [id, key, type, extensions]),
    [2, 3, 4].map((i) => [`e${i}`, `k${i % 3}`, "test", { part: i % 2, traceparent: "x" }]),
  );
  assert.deepEqual([outputs[0].value, checkpoint, exhausted], [{ n: 2, fill: "xxx" }, 4, true]);
  await assert.rejects(run(source, [], { config: { program: { fail_at: 2 } } }), /asked to fail at 2/);
  await assert.rejects(run(source, [], { config: { program: { repeat_checkpoint: 3 } } }), /came twice in a row/);
  const digits = { config: { program: { count: 6, checkpoint_digits: 4 }, log }, checkpoint: "0004" };
  const inDigits = await run(source, [], digits);
  assert.deepEqual([inDigits.outputs.map(({ id }) => id), inDigits.checkpoint], [['"0004"#1', '"0005"#1'], "0006"]);
  const endless = await run(queue, [], { config: { program: { pause_ms: 1 }, log }, limit: 3 });
  assert.equal(endless.exhausted, false);
  const lines = readFileSync(log, "utf8").split("\n");
  for (const line of ["settled 4", "settled 6", "receipt 2", "receipt 4", "receipt 1"])
    assert.ok(lines.includes(line), line);
});
