// The interpreter of tests/conformance/INTERPRETER.md: a node of every kind that does what each payload says.
import { drop, isMain, node, serve } from "meshloom";
import { NOTHING, obey, obeyRow, PASS } from "./interpreter/commands.js";
import { Config } from "./interpreter/config.js";
import { Checkpoint, produce } from "./interpreter/program.js";
import { counted } from "./interpreter/report.js";
import { setup } from "./interpreter/setup.js";

const options = { config: Config, setup };
const routed = { ...options, routes: ["left", "right"] };

/** The one output that an answer stands for. */
const single = counted(async (event, context) => {
  const [first = drop] = await obey(event, context);
  return first === NOTHING ? undefined : first === PASS ? event : first;
});

export const map = node("map", routed).map(single);

/** A second map, with little room. */
export const narrow = node("narrow", {
  ...routed,
  limits: { maxInFlightWorks: 2, maxBatchEvents: 8, maxBatchBytes: 65_536 },
}).map(single);

export const filter = node("filter", options).filter(
  counted(async (event, context) => {
    const [first] = await obey(event, context);
    return first === NOTHING ? undefined : first !== undefined;
  }),
);

export const flatMap = node("flat_map", routed).flatMap(
  counted(async (event, context) => {
    const answer = await obey(event, context);
    if (answer[0] === NOTHING) return undefined;
    return answer[0] === PASS ? [event] : answer;
  }),
);

export const sink = node("sink", options).sink(counted(obey));

export const batch = node("batch", routed).batch(
  counted(async (rows, out, context) => {
    for (let i = 0; i < rows.count; i++) await obeyRow(rows, i, out, context);
  }),
);

const hooks = {
  checkpoint: Checkpoint,
  settled: (checkpoint, { state }) => state.log(`settled ${Number(checkpoint)}`),
};

export const source = node("source", options).source(produce, hooks);
export const queue = node("queue", options).source(produce, { ...hooks, replays: false });

if (isMain(import.meta)) await serve(map, filter, flatMap, narrow, sink, batch, source, queue);
