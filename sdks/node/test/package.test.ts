import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import * as esm from "meshloom";
import { Client, start } from "./harness.js";

const require = createRequire(import.meta.url);

const SURFACE = [
  "Batch",
  "ConfigError",
  "Emitter",
  "MeshEvent",
  "Node",
  "NodeBuilder",
  "Output",
  "PublishError",
  "Publisher",
  "Reasons",
  "Reject",
  "Retry",
  "ServeError",
  "Timestamp",
  "UnacknowledgedError",
  "Uri",
  "UriReference",
  "VERSION",
  "drop",
  "durationMs",
  "isMain",
  "node",
  "output",
  "serve",
  "sizeBytes",
];

test("ESM and CommonJS offer the same names", () => {
  assert.deepEqual(Object.keys(esm).sort(), SURFACE);
  const cjs = require("meshloom") as typeof esm;
  assert.deepEqual(Object.keys(cjs).sort(), SURFACE);
  assert.equal(typeof (require("meshloom/testing") as { run: unknown }).run, "function");
});

test("what one copy throws and returns, the other understands", async () => {
  const cjs = require("meshloom") as typeof esm;
  const { run } = await import("meshloom/testing");
  const mixed = esm.node("mixed").map((event) => {
    if (event.json<number>() === 1) throw new cjs.Reject("no", { reason: "BAD" });
    return event.json<number>() === 2 ? cjs.drop : cjs.output({ fine: true });
  });
  const { values, dropped, rejected } = await run(mixed, [0, 1, 2]);
  assert.deepEqual([values, dropped, rejected[0]!.reason], [[{ fine: true }], [2], "BAD"]);
  const { address } = await start(cjs.node("theirs").map((event) => esm.output(event, { key: "k" })));
  const stream = await new Client(address).process({ handler: "theirs" });
  assert.equal((await stream.handle([1])).outputs[0]!.key, "k");
});

test("the version is that of package.json", () => {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  assert.equal(esm.VERSION, version);
});

test("isMain: true for the program, false when imported; CommonJS serves too", () => {
  const run = (...args: string[]): string => execFileSync(process.execPath, args, { encoding: "utf8" }).trim();
  const fixture = (file: string): string => new URL(`../test/fixtures/${file}`, import.meta.url).pathname;
  assert.equal(run(fixture("main.js")), "main");
  assert.equal(run(fixture("main")), "main");
  assert.equal(run("--input-type=module", "-e", `await import(${JSON.stringify(fixture("main.js"))})`), "imported");
  assert.equal(run(fixture("main.cjs")), "main listening");
});
