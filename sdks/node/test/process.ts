import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, eventually, socketPath } from "./harness.js";

const fixtures = join(fileURLToPath(new URL(".", import.meta.url)), "../test/fixtures");

export interface Child {
  readonly process: ChildProcess;
  readonly lines: string[];
  /** Once it has ended and all its lines are there. */
  readonly exit: Promise<[code: number | null, signal: string | null]>;
}

/** Starts a program of the fixtures; it is killed after the tests. */
export function spawnFixture(file: string, env: Record<string, string> = {}): Child {
  const inherited = { ...process.env };
  delete inherited["MESHLOOM_LISTEN"];
  delete inherited["OTEL_EXPORTER_OTLP_ENDPOINT"];
  const child = spawn(process.execPath, [join(fixtures, file)], {
    env: { ...inherited, ...env },
    stdio: ["ignore", "inherit", "pipe"],
  });
  after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  createInterface(child.stderr).on("line", (line) => lines.push(line));
  return { process: child, lines, exit: once(child, "close") as Child["exit"] };
}

/** Starts the node of a fixture on a socket and waits until it serves. */
export async function spawnNode(
  file: string,
  env: Record<string, string> = {},
): Promise<{ child: Child; client: Client; address: string }> {
  const address = `unix:${socketPath()}`;
  const child = spawnFixture(file, { MESHLOOM_LISTEN: address, ...env });
  await eventually("the node serves", () =>
    new Client(address).health(500).then(
      (status) => status === 1,
      () => false,
    ),
  );
  return { child, client: new Client(address), address };
}
