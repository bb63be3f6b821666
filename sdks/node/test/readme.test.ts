// Every snippet of the README is compiled, strictly; the first of each kind is run by tests/packages/node.py too.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const build = fileURLToPath(new URL(".", import.meta.url));
const readme = readFileSync(join(build, "../README.md"), "utf8");
const folder = join(build, "readme");
mkdirSync(folder, { recursive: true });

/** The snippets in order, each under the name that its first line gives, else its number. */
const snippets = [...readme.matchAll(/^```(js|ts)\n(.*?)^```$/gms)].map(([, language, text], i) => {
  const name = /^\/\/ (\S+\.[cm][jt]s)$/m.exec(text!)?.[1] ?? `snippet-${i}.m${language}`;
  writeFileSync(join(folder, name), text!);
  return name;
});

test("the snippets of the README compile, strictly", () => {
  assert.ok(snippets.length >= 8, `${snippets.length} snippets`);
  const compilerOptions = {
    noEmit: true,
    strict: true,
    checkJs: true,
    module: "nodenext",
    target: "es2022",
    lib: ["es2023", "esnext.disposable"],
    types: ["node"],
    skipLibCheck: true,
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.*"] }));
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  try {
    execFileSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
  } catch (error) {
    assert.fail((error as { stdout: string }).stdout);
  }
});

test("the unit test of the README passes", () => {
  // Not as a child of this test run, to whose reporter it would talk.
  const env = { ...process.env };
  delete env["NODE_TEST_CONTEXT"];
  const out = execFileSync(process.execPath, ["--test", join(folder, "hot.test.mjs")], { encoding: "utf8", env });
  assert.match(out, /pass 1/);
});

test("the modules of the README load", async () => {
  for (const name of snippets.filter((file) => file.endsWith("js") && !file.includes(".test."))) {
    await import(join(folder, name));
  }
});
