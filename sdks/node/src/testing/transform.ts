import { Batch } from "../columns/batch.js";
import { WHOLE } from "../columns/limits.js";
import { asBuffer } from "../columns/values.js";
import {
  FailureAction,
  Ordering,
  ProcessRequest,
  ProcessResponse,
  type WorkResult,
} from "../gen/meshloom/v1/process.js";
import type { Instances } from "../instances.js";
import type { Node } from "../node.js";
import { ProcessSession } from "../process/session.js";
import { fromDuration, toDuration } from "../process/verdicts.js";
import { Reasons } from "../reasons.js";
import { CallTable } from "../transport/calls.js";
import { type Prepared, prepare, toBatch } from "./batches.js";
import { opening } from "./opening.js";
import type { RunOptions } from "./options.js";
import { readOutputs } from "./outputs.js";
import type { Delivered, TestFailure, TestOutput, Verdict } from "./results.js";
import { anySeed, split } from "./splits.js";
import { MemoryWire } from "./wire.js";

interface Indexed {
  readonly index: number;
  readonly event: Prepared;
}

/** Runs a map, filter, flatMap, sink or batch handler; the deliveries asked for, one after the other. */
export async function runTransform(
  node: Node,
  inputs: readonly unknown[],
  options: RunOptions,
  instances: Instances,
): Promise<Delivered[]> {
  const events = inputs.map((input, index) => ({ index, event: prepare(input, index) }));
  const stream = new TestStream(node, options, instances);
  await stream.opened();
  const delivered: Delivered[] = [];
  for (let delivery = 0; delivery < (options.redeliver === true ? 2 : 1); delivery++) {
    if (delivery > 0) for (const { event } of events) event.attempt++;
    delivered.push(await stream.deliver(events));
  }
  stream.close();
  return delivered;
}

/** A stream with a session of production at its end. */
class TestStream {
  private readonly wire = new MemoryWire();
  private readonly session: ProcessSession;
  private readonly seed: number;
  private sequence = 0n;

  constructor(
    node: Node,
    private readonly options: RunOptions,
    instances: Instances,
  ) {
    this.seed = options.seed ?? anySeed();
    if (options.splits === "random") {
      process.stderr.write(
        `meshloom/testing: random batches; the same again: { splits: "random", seed: ${this.seed} }\n`,
      );
    }
    this.session = new ProcessSession(this.wire, [node.definition], instances, new CallTable(), () => undefined);
    const ordering = options.ordered === true ? Ordering.ORDERING_KEY : Ordering.ORDERING_NONE;
    this.send({ $case: "open", value: { ...opening(node, options), ordering, concurrency: 0 } });
  }

  async opened(): Promise<void> {
    await this.wire.next();
  }

  close(): void {
    this.session.halfClosed();
  }

  /** Delivers the events until none asks for another attempt, or has no more of them. */
  async deliver(events: readonly Indexed[]): Promise<Delivered> {
    const { splits = 1, attempts = 1 } = this.options;
    const books = new Books(events.length);
    let left = events;
    for (let attempt = 1; left.length > 0; attempt++) {
      const again: Indexed[] = [];
      for (const part of split(left, splits, this.seed)) again.push(...(await this.work(part, books)));
      if (attempt >= attempts || this.options.signal?.aborted === true) break;
      left = again.sort((a, b) => a.index - b.index);
      for (const { event } of left) event.attempt++;
    }
    return books.result();
  }

  private async work(part: readonly Indexed[], books: Books): Promise<Indexed[]> {
    const { signal, timeoutMs, spans } = this.options;
    if (signal?.aborted === true) {
      books.notDelivered(part);
      return [];
    }
    const sequence = ++this.sequence;
    const cancel = (): void => this.send({ $case: "cancel", value: { sequence, reason: "the test's signal" } });
    signal?.addEventListener("abort", cancel, { once: true });
    const columns = toBatch(
      part.map(({ event }) => event),
      spans === true,
    );
    const timeout = timeoutMs === undefined ? undefined : toDuration(timeoutMs);
    this.send({ $case: "work", value: { sequence, timeout, ...columns } });
    const again = await books.settle(this.wire, part, new Batch(columns.batch, columns.attempts));
    signal?.removeEventListener("abort", cancel);
    return again;
  }

  private send(request: ProcessRequest["request"]): void {
    this.session.receive(asBuffer(ProcessRequest.encode({ request }).finish()));
  }
}

/** Collects what became of the inputs of one delivery. */
class Books {
  private readonly outputs: TestOutput[] = [];
  private readonly dropped: number[] = [];
  private readonly rejected: TestFailure[] = [];
  private readonly retried: TestFailure[] = [];
  private readonly verdicts: Verdict[];

  constructor(inputs: number) {
    this.verdicts = new Array<Verdict>(inputs).fill("drop");
  }

  /** Reads the answers to one work; returns the inputs that asked for a retry. */
  async settle(wire: MemoryWire, part: readonly Indexed[], batch: Batch): Promise<Indexed[]> {
    const open = new Set(part.keys());
    const again: Indexed[] = [];
    for (let last = false; !last;) {
      const message = await wire.next();
      if (message === undefined) throw new Error("the node ended the stream");
      const { response } = ProcessResponse.decode(asBuffer(message));
      if (response?.$case !== "result") continue;
      ({ last } = response.value);
      for (const output of readOutputs(response.value, batch)) {
        const input = part[output.parent]?.index;
        if (input !== undefined) this.verdicts[input] = "output";
        open.delete(output.parent);
        this.outputs.push({ ...output, parent: input ?? -1 });
      }
      this.fail(response.value, part, open, again);
    }
    for (const row of open) this.dropped.push(part[row]!.index);
    for (const row of open) this.verdicts[part[row]!.index] = "drop";
    return again;
  }

  /** The run was cancelled before these were delivered. */
  notDelivered(part: readonly Indexed[]): void {
    for (const { index, event } of part) {
      const { attempt } = event;
      this.verdicts[index] = `retry ${Reasons.CANCELLED}`;
      this.retried.push({
        input: index,
        reason: Reasons.CANCELLED,
        message: "not delivered",
        afterMs: undefined,
        attempt,
      });
    }
  }

  private fail(result: WorkResult, part: readonly Indexed[], open: Set<number>, again: Indexed[]): void {
    for (const { index: row, action, reason, message, retryAfter } of result.failures) {
      const whole = row === WHOLE;
      const failed = whole ? part : [part[row]!];
      const attempt = failed[0]!.event.attempt;
      const rejects = action === FailureAction.FAILURE_ACTION_REJECT;
      const input = whole ? -1 : failed[0]!.index;
      const afterMs = fromDuration(retryAfter);
      (rejects ? this.rejected : this.retried).push({ input, reason, message, afterMs, attempt });
      if (!rejects) again.push(...failed);
      for (const { index } of failed) this.verdicts[index] = `${rejects ? "reject" : "retry"} ${reason}`;
      if (whole) open.clear();
      else open.delete(row);
    }
  }

  result(): Delivered {
    const outputs = this.outputs.sort((a, b) => a.parent - b.parent);
    return {
      values: outputs.map((output) => output.value),
      outputs,
      verdicts: this.verdicts,
      dropped: this.dropped.sort((a, b) => a - b),
      rejected: this.rejected,
      retried: this.retried,
      checkpoint: undefined,
      exhausted: false,
    };
  }
}
