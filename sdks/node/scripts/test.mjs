// Compiles the tests against the built package and runs them: `npm test [-- file ...]`.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = join(root, "build");
const run = (args) => {
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit", cwd: root });
  if (status !== 0) process.exit(status ?? 1);
};
rmSync(build, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
for (const project of ["test", "examples"]) run([tsc, "-p", project]);
const wanted = process.argv.slice(2);
const files = [
  ...readdirSync(build),
  ...readdirSync(join(build, "examples")).map((file) => join("examples", file)),
].filter((file) => /[._]test\.js$/.test(file) && (wanted.length === 0 || wanted.some((part) => file.includes(part))));
run(["--test", "--test-timeout=300000", ...files.map((file) => join(build, file))]);
