import type { Batch } from "../columns/batch.js";
import { extensionColumns } from "../columns/extensions.js";
import { MAX_BATCH_EVENTS, MAX_EXTENSIONS } from "../columns/limits.js";
import { encodeOutputs, rowSize } from "../columns/outputs.js";
import type { EventFailure, WorkResult } from "../gen/meshloom/v1/process.js";
import type { Row } from "../output.js";

/** A result is closed once it holds this much, so that no message comes near the limit of 64 MiB. */
const RESULT_BYTES = 4 * 1024 * 1024;

/** Puts rows (any order of parents) and failures into as many results as their size asks for. At least one. */
export function toResults(
  sequence: bigint,
  batch: Batch,
  rows: readonly Row[],
  failures: readonly EventFailure[],
): WorkResult[] {
  const results = [
    ...cutRows(ascending(rows)).map((part) => ({
      ...empty(sequence),
      outputs: encodeOutputs(part.rows, batch, part.continued),
    })),
    ...cutFailures(failures).map((part) => ({ ...empty(sequence), failures: part })),
  ];
  // Usually one of each: they travel together.
  if (results.length === 2 && rows.length > 0 && failures.length > 0) {
    return [{ ...results[0]!, failures: results[1]!.failures }];
  }
  return results.length > 0 ? results : [empty(sequence)];
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

/** Calls end in any order, parents must ascend; the sort is stable, so the outputs of one input keep theirs. */
function ascending(rows: readonly Row[]): readonly Row[] {
  for (let i = 1; i < rows.length; i++) {
    if (rows[i]!.parent < rows[i - 1]!.parent) return [...rows].sort((a, b) => a.parent - b.parent);
  }
  return rows;
}

interface Part {
  readonly rows: readonly Row[];
  /** The last parent has rows in the next part too. */
  readonly continued: boolean;
}

function cutRows(rows: readonly Row[]): Part[] {
  const parts: Part[] = [];
  let from = 0;
  let bytes = 0;
  let extensions = new Set<string>();
  for (let i = 0; i < rows.length; i++) {
    const size = rowSize(rows[i]!);
    const named = extensionColumns(rows[i]!.options?.extensions);
    const columns = named.length === 0 ? extensions.size : new Set([...extensions, ...named]).size;
    if (i > from && (bytes + size > RESULT_BYTES || i - from >= MAX_BATCH_EVENTS || columns > MAX_EXTENSIONS)) {
      parts.push({ rows: rows.slice(from, i), continued: rows[i]!.parent === rows[i - 1]!.parent });
      [from, bytes, extensions] = [i, 0, new Set()];
    }
    bytes += size;
    for (const name of named) extensions.add(name);
  }
  if (rows.length > from) parts.push({ rows: from === 0 ? rows : rows.slice(from), continued: false });
  return parts;
}

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
