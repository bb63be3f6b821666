import { readConfig } from "./config.js";
import type { Definition } from "./definition.js";
import { createLogger } from "./log.js";

/** A handler that is set up for one config. */
export interface Instance {
  readonly config: unknown;
  readonly state: unknown;
}

/** Set-up once per handler and config, shared by streams; tear-down once, after drain. */
export class Instances {
  private readonly open = new Map<string, Promise<Instance>>();

  /** The instance for this config. Throws `ConfigError`, or what set-up threw; a failed one is set up again next time. */
  get(definition: Definition, configJson: Uint8Array): Promise<Instance> {
    const key = `${definition.name}\0${canonical(configJson)}`;
    const known = this.open.get(key);
    if (known !== undefined) return known;
    const made = setUp(definition, configJson);
    this.open.set(key, made);
    made.catch(() => this.open.delete(key));
    return made;
  }

  /** Tears every instance down, newest first. Errors are logged, not thrown: the others must still be closed. */
  async close(): Promise<void> {
    const all = [...this.open.entries()].reverse();
    this.open.clear();
    for (const [key, made] of all) {
      const instance = await made.catch(() => undefined);
      try {
        await dispose(instance?.state);
      } catch (error) {
        createLogger({ node: key.split("\0", 1)[0] }).error("tear-down failed", { error });
      }
    }
  }
}

/** The same text for all ways to write one config; the bytes themselves where they are no JSON, which is refused later. */
function canonical(configJson: Uint8Array): string {
  const text = Buffer.from(configJson).toString("utf8");
  try {
    return JSON.stringify(text === "" ? {} : JSON.parse(text), sortKeys);
  } catch {
    return text;
  }
}

const sortKeys = (_: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

async function setUp(definition: Definition, configJson: Uint8Array): Promise<Instance> {
  const config = await readConfig(configJson, definition.config);
  const state = await definition.setup?.({ config, log: createLogger({ node: definition.name }) });
  return { config, state };
}

async function dispose(state: unknown): Promise<void> {
  if (typeof state !== "object" || state === null) return;
  const disposable = state as Partial<AsyncDisposable & Disposable>;
  if (typeof disposable[Symbol.asyncDispose] === "function") await disposable[Symbol.asyncDispose]!();
  else disposable[Symbol.dispose]?.();
}
