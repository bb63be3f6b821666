import type { Definition } from "../definition.js";
import { describeError, ServeError } from "../errors.js";
import { Instances } from "../instances.js";
import { ProcessSession } from "../process/session.js";
import { ProduceSession } from "../produce/session.js";
import { setUpTracing } from "../tracing/setup.js";
import { CallTable } from "../transport/calls.js";
import { BindError, Hub } from "../transport/hub.js";
import { checkAddress, checkExposure, DEFAULT_LISTEN, removeStaleSocket } from "./address.js";
import { describe } from "./describe.js";
import { readTls } from "./tls.js";

/** How to serve. */
export interface ServeOptions {
  /** Address in gRPC name syntax (`unix:/path`, `127.0.0.1:0`); default MESHLOOM_LISTEN, else 127.0.0.1:7480. */
  listen?: string;
  /**
   * Drains and stops when it aborts. With it the node is embedded: no signal handlers, failures are thrown. Without it
   * the node owns the process: SIGTERM and SIGINT drain it and the process exits.
   */
  signal?: AbortSignal;
  /** Called with the bound address once the node listens. */
  onListening?: (address: string) => void;
}

/** Serves handlers until they are told to stop. */
export async function serveDefinitions(definitions: readonly Definition[], options: ServeOptions): Promise<void> {
  if (options.signal !== undefined) {
    await run(definitions, options, options.signal);
    return;
  }
  try {
    await run(definitions, options, terminationSignal());
  } catch (error) {
    process.stderr.write(`meshloom: ${describeError(error)}\n`);
    process.exit(error instanceof ServeError ? error.exitCode : 70);
  }
  process.exit(0);
}

async function run(definitions: readonly Definition[], options: ServeOptions, stop: AbortSignal): Promise<void> {
  requireUniqueNames(definitions);
  const byHand = options.listen === undefined && !process.env["MESHLOOM_LISTEN"];
  const listen = options.listen ?? (process.env["MESHLOOM_LISTEN"] || DEFAULT_LISTEN);
  const tls = readTls(process.env);
  checkAddress(listen);
  checkExposure(listen, tls !== undefined, process.env["MESHLOOM_INSECURE"] === "1");
  await removeStaleSocket(listen);
  const table = new CallTable(undefined, true);
  const instances = new Instances();
  const hub = new Hub(
    { listen, tls, describe: describe(definitions), calls: table.memory, timeOrigin: performance.timeOrigin },
    (wire, rpc, onOver) =>
      rpc === "Process"
        ? new ProcessSession(wire, definitions, instances, table, onOver)
        : new ProduceSession(wire, definitions, instances, onOver),
  );
  // Beside each other: both take a moment to load. Tracing is ready before the first stream can be.
  const [flushTraces, address] = await Promise.all([setUpTracing(process.env), bound(hub, listen)]);
  if (byHand) process.stderr.write(`${greeting(definitions, address)}\n`);
  options.onListening?.(address);
  try {
    await Promise.race([aborted(stop), hub.broken]);
    await Promise.race([hub.drain(), hub.broken]);
    await hub.close();
  } finally {
    await instances.close();
    await flushTraces();
  }
}

async function bound(hub: Hub, listen: string): Promise<string> {
  try {
    return await hub.listening();
  } catch (error) {
    if (!(error instanceof BindError)) throw error;
    const remedy = error.inUse
      ? "the address is taken: stop the other process, or set MESHLOOM_LISTEN to another one, like 127.0.0.1:7481"
      : error.message;
    throw new ServeError(`cannot listen on ${listen}: ${remedy}`, 69);
  }
}

function requireUniqueNames(definitions: readonly Definition[]): void {
  if (definitions.length === 0) throw new ServeError("there is nothing to serve: pass at least one node", 78);
  const names = new Set<string>();
  for (const { name } of definitions) {
    if (names.has(name)) throw new ServeError(`two nodes are named "${name}"; names must differ in one process`, 78);
    names.add(name);
  }
}

function greeting(definitions: readonly Definition[], address: string): string {
  const what = definitions.map(({ name, role }) => `${name} (${role})`).join(", ");
  const name = definitions[0]!.name;
  return (
    `meshloom node ${what} on ${address}; use it with "connect: ${address}" in a pipeline file ` +
    `or "meshloom run --attach ${name}=${address}"`
  );
}

/** Aborts at the first SIGTERM or SIGINT; the second ends the process at once. */
function terminationSignal(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return controller.signal;
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
