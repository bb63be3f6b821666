// Packs what has been built and checks the tarball: publint and arethetypeswrong. `npm run lint`.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), "pack-"));
try {
  // Without scripts: a build would take the package away from whoever uses it now.
  const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    cwd: root,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const tarball = join(folder, JSON.parse(packed)[0].filename);
  const check = (...args) => execFileSync(process.execPath, args, { stdio: "inherit", cwd: root });
  check(join(root, "node_modules/publint/src/cli.js"), "run", tarball, "--strict");
  // node10 is no version that we support; all that is left must resolve, in ESM and in CommonJS.
  check(join(root, "node_modules/@arethetypeswrong/cli/dist/index.js"), tarball, "--profile", "node16", "--no-emoji");
} finally {
  rmSync(folder, { recursive: true });
}
