import type { HeldOutputs } from "../columns/outputs.js";
import type { EventFailure, WorkResult } from "../gen/meshloom/v1/process.js";

/** A result is closed once its failures take this much, so that no message comes near the limit of 64 MiB. */
const RESULT_BYTES = 4 * 1024 * 1024;

/** Puts outputs and failures into as many results as their size asks for. At least one. */
export function toResults(sequence: bigint, held: HeldOutputs, failures: readonly EventFailure[]): WorkResult[] {
  const outputs = held.count === 0 ? [] : held.encode();
  const parts = failures.length === 0 ? [] : cutFailures(failures);
  // Usually one of each: they travel together.
  if (outputs.length <= 1 && parts.length <= 1) {
    return [{ ...empty(sequence), outputs: outputs[0], failures: parts[0] ?? [] }];
  }
  return [
    ...outputs.map((part) => ({ ...empty(sequence), outputs: part })),
    ...parts.map((part) => ({ ...empty(sequence), failures: part })),
  ];
}

/** A result that says nothing yet. */
export const empty = (sequence: bigint): WorkResult => ({
  sequence,
  outputs: undefined,
  failures: [],
  consumed: 0,
  last: false,
  busy: undefined,
});

function cutFailures(failures: readonly EventFailure[]): EventFailure[][] {
  const parts: EventFailure[][] = [];
  let bytes = Infinity;
  for (const failure of failures) {
    const size = failure.message.length + 100;
    if (bytes + size > RESULT_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(failure);
    bytes += size;
  }
  return parts;
}
