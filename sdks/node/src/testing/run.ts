import { Instances } from "../instances.js";
import type { Node } from "../node.js";
import type { RunOptions } from "./options.js";
import type { Delivered, RunResult } from "./results.js";
import { runSource } from "./source.js";
import { recordSpans, type TestSpan } from "./spans.js";
import { runTransform } from "./transform.js";

/**
 * Runs a node on inputs: JSON values, bytes, or `output(value, { key, ... })` for attributes. Set-up and tear-down run.
 * Rejects if the node cannot start: a refused config, a set-up that fails; and with what a source throws.
 */
export async function run(node: Node, inputs: readonly unknown[] = [], options: RunOptions = {}): Promise<RunResult> {
  check(options);
  const instances = new Instances();
  const recorder = options.spans === true ? await recordSpans() : undefined;
  try {
    const [first, second] =
      node.definition.role === "source"
        ? [await runSource(node, options, instances)]
        : await runTransform(node, inputs, options, instances);
    const spans = recorder?.finished() ?? [];
    const redelivered = second && toResult(second, undefined, spans);
    return toResult(first!, redelivered, spans);
  } finally {
    await instances.close();
  }
}

const toResult = (delivered: Delivered, redelivered: RunResult | undefined, spans: readonly TestSpan[]): RunResult => ({
  ...delivered,
  redelivered,
  spans,
});

function check({ splits = 1, attempts = 1 }: RunOptions): void {
  const whole = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 1;
  if (splits !== "random" && !whole(splits)) {
    throw new RangeError(`splits must be a number of batches from 1, or "random", not ${splits}`);
  }
  if (!whole(attempts)) throw new RangeError(`attempts must be a whole number from 1, not ${attempts}`);
}
