// The Node.js node of the end-to-end tests: one process with a handler of every kind that does what the payload asks
// for. Each language has the same one.
import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { ConfigError, drop, isMain, node, output, Reject, Retry, serve } from "meshloom";
import { z } from "zod";

const LANG = "node";
const config = z.strictObject({
  label: z.string(),
  count: z.int().default(0),
  first: z.int().default(0),
  pause: z.int().default(0),
  out: z.string().default(""),
});
const routes = ["side"];

/** Ways of dying. */
const deaths = {
  die: () => process.kill(process.pid, "SIGKILL"),
  exit: () => process.exit(3),
  oom: () => {
    for (const kept = []; ;) kept.push(new Array(1 << 20).fill(kept.length));
  },
};

/** The command of a payload as a handler of this label takes it: `at` names the one that is to obey. */
const here = (input, { label }) => ((input.at ?? label) === label ? input : { ...input, do: "pass" });

/** What all handlers have in common: throws, or says whether the event is to be dropped. */
function verdict({ n, do: what }, attempt) {
  if (what === "reject") throw new Reject(`asked to reject ${n}`, { reason: "TEST_REJECT" });
  if (deaths[what]) {
    writeSync(2, `asked to die ${n}\n`);
    deaths[what]();
  }
  if (what === "never") throw new Retry(`asked never to pass ${n}`);
  if (what === "retry" && attempt < 3) throw new Retry(`asked to retry ${n}`);
  if (what === "fail" && attempt < 2) throw new Error(`asked to fail ${n}`);
  return what === "drop";
}

/** Key and route that the payload asks for. */
const attributes = ({ n, do: what }) => ({
  ...(what === "key" && { key: `k${n}` }),
  ...(what === "route" && { route: "side" }),
});

/** The outputs that the payload asks for: three parts when it says `split`, else one. */
function parts(input, attempt, { label }) {
  const { n, do: what } = input;
  return what === "split"
    ? [0, 1, 2].map((part) => ({ n, part, label, lang: LANG }))
    : [{ n, label, lang: LANG, attempt }];
}

export const map = node("map", { config, routes }).map((event, { attempt, config, tracer }) =>
  tracer.startActiveSpan("user-work", (span) => {
    try {
      const input = here(event.json(), config);
      if (verdict(input, attempt)) return drop;
      if (input.do === "none") return undefined;
      return output({ n: input.n, label: config.label, lang: LANG, attempt }, attributes(input));
    } finally {
      span.end();
    }
  }),
);

export const filter = node("filter", { config }).filter(
  (event, { attempt, config }) => !verdict(here(event.json(), config), attempt),
);

export const flatMap = node("flat_map", { config, routes }).flatMap(function* (event, { attempt, config }) {
  const input = here(event.json(), config);
  if (verdict(input, attempt)) return;
  for (const part of parts(input, attempt, config)) yield output(part, attributes(input));
});

export const batch = node("batch", { config, routes }).batch((rows, out, { config }) => {
  const inputs = Array.from(rows, (event) => here(event.json(), config));
  inputs.forEach((input, i) => {
    if (input.do === "poison") throw new Error("a poisonous row fails the whole batch");
    if (input.do === "fail" && rows.attempt(i) < 2) throw new Error(`asked to fail ${input.n}`);
  });
  inputs.forEach((input, i) => {
    const attempt = rows.attempt(i);
    if (input.do === "forget") return;
    if (input.do === "drop") out.drop(i);
    else if (input.do === "reject") out.reject(i, `asked to reject ${input.n}`, { reason: "TEST_REJECT" });
    else if (input.do === "retry" && attempt < 3) out.retry(i, `asked to retry ${input.n}`);
    else if (input.do === "never") out.retry(i, `asked never to pass ${input.n}`);
    else for (const part of parts(input, attempt, config)) out.emit(i, part, attributes(input));
  });
});

/** A file of JSON lines, closed after drain. */
class Lines {
  constructor(path) {
    this.file = openSync(path, "a");
  }
  /** One line in one write, so that several processes may share the file. */
  append(line) {
    writeSync(this.file, `${JSON.stringify(line)}\n`);
  }
  [Symbol.dispose]() {
    closeSync(this.file);
  }
}

/** Opens the file of a handler that needs one. */
const opens =
  (what) =>
  ({ config }) => {
    if (config.out === "") throw new ConfigError([{ field: "out", message: `the ${what} needs the path of a file` }]);
    return new Lines(config.out);
  };

export const sink = node("sink", { config, setup: opens("sink") }).sink((event, { attempt, config, state }) => {
  const input = here(event.json(), config);
  verdict(input, attempt);
  state.append({ uid: event.uid, n: input.n, attempt, lang: LANG, label: config.label });
});

export const source = node("source", { config }).source(async function* ({ checkpoint, config }) {
  for (let n = (checkpoint ?? 0) + 1; n <= config.count; n++) {
    yield output({ n, do: "pass" }, { checkpoint: n });
    if (config.pause > 0) await setTimeout(config.pause);
  }
});

/**
 * A source that cannot replay, in front of a queue: what it is told to forget it never gives again, and it has no end.
 * The file `out` has a line for each event that is forgotten.
 */
export const queue = node("queue", { config, setup: opens("queue") }).source(
  async function* ({ config, state: forgotten, signal }) {
    const already = new Set(readFileSync(config.out, "utf8").split("\n"));
    for (let n = config.first; n < config.first + config.count; n++) {
      if (already.has(`${n}`)) continue;
      yield output({ n, do: "pass" }, { id: `${n}`, settled: () => forgotten.append(n) });
      if (config.pause > 0) await setTimeout(config.pause, undefined, { signal });
    }
    await once(signal, "abort");
  },
  { replays: false },
);

if (isMain(import.meta)) await serve(map, filter, flatMap, batch, sink, source, queue);
