import { setTimeout } from "node:timers/promises";
import { output } from "meshloom";
import { z } from "zod";

/** The number of an event, as such or in digits. */
export const Checkpoint = z.union([z.int(), z.string().regex(/^\d+$/).transform(Number)]);

/** The events of a program, from behind a checkpoint on. */
export async function* produce({ checkpoint = 0, config: { program }, state, signal }) {
  const { count, pause_ms: pauseMs, fail_at: failAt } = program;
  for (let i = checkpoint + 1; (count === 0 || i <= count) && !signal.aborted; i++) {
    if (i === failAt) throw new Error(`asked to fail at ${failAt}`);
    yield output(payload(i, program), { ...attributes(i, program), settled: () => state.log(`receipt ${i}`) });
    if (pauseMs > 0) await setTimeout(pauseMs, undefined, { signal });
  }
}

const payload = (n, { bytes }) => (bytes === 0 ? { n } : { n, fill: "x".repeat(bytes) });

const written = (i, { checkpoint_digits: digits }) => (digits === 0 ? i : String(i).padStart(digits, "0"));

const checkpoint = (i, program) => {
  const { checkpoint_every: every, repeat_checkpoint: repeated } = program;
  if (i === repeated) return written(i - 1, program);
  return every > 0 && i % every === 0 ? written(i, program) : undefined;
};

const attributes = (i, program) => ({
  checkpoint: checkpoint(i, program),
  ...(program.ids && { id: `e${i}` }),
  ...(program.attributes && { key: `k${i % 3}`, type: "test", time: BigInt(i) }),
  extensions: {
    ...(program.attributes && { part: i % 2 }),
    ...(program.traceparent !== "" && { traceparent: program.traceparent }),
  },
});
