import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * Whether a module is the program that was started: `isMain(import.meta)`, in CommonJS `isMain(module)`. A module that
 * serves only then can be imported by tests.
 */
export function isMain(module: ImportMeta | NodeJS.Module): boolean {
  const started = process.argv[1];
  if (started === undefined) return false;
  const file = "url" in module ? fileURLToPath(module.url) : module.filename;
  // Node may be started with a path without its extension, or with a folder.
  return ["", ".js", ".mjs", ".cjs", "/index.js"].some((ending) => samePath(`${started}${ending}`, file));
}

function samePath(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}
