// Events per second of a JSON map, typed by a schema and untyped: the whole node over a Unix socket, against the same
// function in a plain loop with the same codec. Runs are interleaved; the client is a process of its own. `npm run bench`.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { node, serve } from "meshloom";
import { z } from "zod";

const EVENTS = 200_000;
const ROUNDS = 5;
const Reading = z.object({ sensor: z.string(), celsius: z.number(), time: z.string(), n: z.int() });
const work = (reading) => ({ ...reading, hot: reading.celsius > 30 });
const sample = (n) => ({ sensor: `sensor-${n % 50}`, celsius: 20 + (n % 200) / 10, time: "2010-07-20T00:00:00Z", n });

function plainLoop(read) {
  const inputs = Array.from({ length: 512 }, (_, n) => Buffer.from(JSON.stringify(sample(n))));
  let bytes = 0;
  const start = performance.now();
  for (let n = 0; n < EVENTS; n++) {
    bytes += Buffer.from(JSON.stringify(work(read(inputs[n % 512].toString())))).length;
  }
  if (bytes === 0) throw new Error("nothing was encoded");
  return EVENTS / ((performance.now() - start) / 1000);
}

/** The client's own figure, printed as one number. */
function overSocket(address, handler) {
  const client = join(fileURLToPath(new URL(".", import.meta.url)), "client.mjs");
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [client, address, handler, String(EVENTS)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (data) => (out += data));
    child.on("exit", (code) =>
      code === 0 ? resolve(Number(out)) : reject(new Error(`the client ended with ${code}`)),
    );
  });
}

const folder = mkdtempSync(join(tmpdir(), "bench-"));
const stop = new AbortController();
const address = `unix:${join(folder, "s")}`;
const map = node("map").map((event) => work(event.json()));
const typed = node("typed", { input: Reading }).map(work);
const pass = node("pass").filter(() => true);
let listening;
const ready = new Promise((resolve) => (listening = resolve));
const done = serve(map, typed, pass, { listen: address, signal: stop.signal, onListening: listening });
await ready;

/** What is measured, and the loop that it is a ratio to. */
const MEASURED = {
  "plain loop": [() => plainLoop((text) => JSON.parse(text))],
  "map node": [() => overSocket(address, "map"), "plain loop"],
  "typed loop": [() => plainLoop((text) => Reading.parse(JSON.parse(text)))],
  "typed map node": [() => overSocket(address, "typed"), "typed loop"],
  "pass-through node": [() => overSocket(address, "pass"), "plain loop"],
};
const figures = Object.fromEntries(Object.keys(MEASURED).map((what) => [what, []]));
for (let round = 0; round < ROUNDS; round++) {
  for (const [what, [measure]] of Object.entries(MEASURED)) figures[what].push(await measure());
}
stop.abort();
await done;
rmSync(folder, { recursive: true });

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
for (const [what, [, reference]] of Object.entries(MEASURED)) {
  const numbers = figures[what];
  const [low, mid, high] = [Math.min(...numbers), median(numbers), Math.max(...numbers)].map((n) =>
    Math.round(n / 1000),
  );
  const ratio =
    reference === undefined ? "" : `  ${(median(numbers) / median(figures[reference])).toFixed(2)} of the ${reference}`;
  console.log(`${what.padEnd(18)} ${String(mid).padStart(6)} k events/s (${low} to ${high})${ratio}`);
}
