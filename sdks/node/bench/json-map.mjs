// Events per second of a JSON map: the whole node over a Unix socket, against the same function in a plain loop with
// the same codec. Runs are interleaved; the client is a process of its own. `npm run bench`.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { node } from "meshloom";

const EVENTS = 200_000;
const ROUNDS = 5;
const work = (reading) => ({ ...reading, hot: reading.celsius > 30 });
const sample = (n) => ({ sensor: `sensor-${n % 50}`, celsius: 20 + (n % 200) / 10, time: "2010-07-20T00:00:00Z", n });

function plainLoop() {
  const inputs = Array.from({ length: 512 }, (_, n) => Buffer.from(JSON.stringify(sample(n))));
  let bytes = 0;
  const start = performance.now();
  for (let n = 0; n < EVENTS; n++) {
    bytes += Buffer.from(JSON.stringify(work(JSON.parse(inputs[n % 512].toString())))).length;
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
const { serve } = await import("meshloom");
const address = `unix:${join(folder, "s")}`;
const map = node("map").map((event) => work(event.json()));
const pass = node("pass").filter(() => true);
let listening;
const ready = new Promise((resolve) => (listening = resolve));
const done = serve(map, pass, { listen: address, signal: stop.signal, onListening: listening });
await ready;

const figures = { "plain loop": [], "map node": [], "pass-through node": [] };
for (let round = 0; round < ROUNDS; round++) {
  figures["plain loop"].push(plainLoop());
  figures["map node"].push(await overSocket(address, "map"));
  figures["pass-through node"].push(await overSocket(address, "pass"));
}
stop.abort();
await done;
rmSync(folder, { recursive: true });

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const reference = median(figures["plain loop"]);
for (const [what, numbers] of Object.entries(figures)) {
  const [low, mid, high] = [Math.min(...numbers), median(numbers), Math.max(...numbers)].map((n) =>
    Math.round(n / 1000),
  );
  console.log(
    `${what.padEnd(18)} ${String(mid).padStart(6)} k events/s (${low} to ${high})  ratio ${(median(numbers) / reference).toFixed(2)}`,
  );
}
