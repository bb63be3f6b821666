import type { Batch } from "../columns/batch.js";
import { WHOLE } from "../columns/limits.js";
import { HeldOutputs } from "../columns/outputs.js";
import type { EventFailure, WorkResult } from "../gen/meshloom/v1/process.js";
import type { Row } from "../output.js";
import { Reasons } from "../reasons.js";
import type { Call } from "./call.js";
import { toResults } from "./results.js";
import { retryFailure, timeoutFailure, toDuration } from "./verdicts.js";

/** Outputs of one input are held until its call ends or they reach this size. */
export const HOLD_BYTES = 1024 * 1024;

/**
 * The books of one work: every input is closed exactly once, by its outputs, its failure or as consumed.
 * Closing a closed input is a no-op: a call that ends after its work was taken back changes nothing.
 */
export class WorkState {
  /** Calls that wait for something while others run. */
  readonly running = new Set<Call>();
  /** Handler time so far, milliseconds over all calls, but for those that follow one another now. */
  busyMs = 0;
  /** When the calls that follow one another now began. */
  private since: number | undefined;

  private readonly closed: Uint8Array;
  private open: number;
  private consumed = 0;
  private held: HeldOutputs;
  private failures: EventFailure[] = [];
  /** The input whose outputs have been sent in part. Nothing else is sent before it is closed. */
  private continuing: number | undefined;
  private awaitingTurn: (() => void)[] = [];

  constructor(
    readonly sequence: bigint,
    readonly batch: Batch,
    /** Time for one handler call, milliseconds; undefined: no limit. */
    readonly timeoutMs: number | undefined,
    private readonly send: (result: WorkResult) => void,
    private readonly onDone: (work: WorkState) => void,
  ) {
    this.open = batch.count;
    this.closed = new Uint8Array(batch.count);
    this.held = new HeldOutputs(batch);
  }

  /** Whether every input is closed and `last` is sent. */
  get done(): boolean {
    return this.open === 0;
  }

  /** Calls begin to follow one another. They are timed as one: a look at the clock per call costs more than most calls. */
  enter(now: number): void {
    this.since = now;
  }

  /** The last of them has ended, or goes on beside others. */
  leave(now: number): void {
    if (this.since !== undefined) this.busyMs += now - this.since;
    this.since = undefined;
  }

  isClosed(index: number): boolean {
    return this.closed[index] === 1;
  }

  /** Ends an input on purpose with no output. */
  consume(index: number): void {
    if (this.isClosed(index)) return;
    // An input with outputs under way was named by them.
    if (this.continuing === index) this.endContinued([], []);
    else this.consumed++;
    this.close(index);
  }

  /** Closes an input by its outputs. */
  answer(index: number, rows: readonly Row[]): void {
    if (this.isClosed(index)) return;
    if (rows.length === 0) {
      this.consume(index);
      return;
    }
    if (this.continuing === index) this.endContinued(rows, []);
    else for (const row of rows) this.held.add(index, row);
    this.close(index);
  }

  /** Closes one input by its failure. */
  fail(failure: EventFailure): void {
    if (this.isClosed(failure.index)) return;
    if (this.continuing === failure.index) this.endContinued([], [failure]);
    else this.failures.push(failure);
    this.close(failure.index);
  }

  /** Adds outputs of the whole batch; they close no input. */
  addWhole(rows: readonly Row[]): void {
    for (const row of rows) this.held.add(WHOLE, row);
  }

  /** Ends the work by a failure that names no event; outputs held so far are forgotten. */
  failWhole(failure: EventFailure): void {
    if (this.done) return;
    this.held = new HeldOutputs(this.batch);
    this.failures = [failure];
    this.consumed = 0;
    this.open = 0;
    this.finish();
  }

  /** Takes the work back: calls past their time are TIMEOUT, everything else open is CANCELLED. */
  cancel(why: string): void {
    if (this.done) return;
    const late = new Set<number>();
    for (const call of this.running) if (call.pastTimeout()) late.add(call.index);
    const failure = (index: number): EventFailure =>
      late.has(index)
        ? timeoutFailure(index, this.timeoutMs!)
        : retryFailure(index, Reasons.CANCELLED, `taken back: ${why}`);
    for (const call of [...this.running]) call.abandon(failure(call.index));
    if (late.has(WHOLE)) {
      this.failWhole(failure(WHOLE));
      return;
    }
    for (let i = 0; i < this.batch.count; i++) if (!this.isClosed(i)) this.fail(failure(i));
  }

  /** Sends what is closed so far. */
  flush(): void {
    if (this.continuing !== undefined || (this.held.count === 0 && this.failures.length === 0)) return;
    for (const result of this.take()) this.send(result);
  }

  /** Sends outputs of an input whose call goes on. The caller keeps at least one output back to end with. */
  sendPart(index: number, rows: readonly Row[]): void {
    if (this.isClosed(index) || rows.length === 0) return;
    this.flush();
    this.continuing = index;
    for (const result of this.results(index, rows, [])) {
      if (result.outputs !== undefined) result.outputs.continued = true;
      this.send(result);
    }
  }

  /** Waits while another input's outputs are under way; undefined: no need to. */
  turn(index: number): Promise<void> | undefined {
    if (this.continuing === undefined || this.continuing === index) return undefined;
    return new Promise((resolve) => this.awaitingTurn.push(resolve));
  }

  private results(index: number, rows: readonly Row[], failures: EventFailure[]): WorkResult[] {
    const held = new HeldOutputs(this.batch);
    for (const row of rows) held.add(index, row);
    return toResults(this.sequence, held, failures);
  }

  private endContinued(rows: readonly Row[], failures: EventFailure[]): void {
    const index = this.continuing!;
    this.continuing = undefined;
    // Alone in its result, the first one after the part: "the last parent named goes on in the next result".
    for (const result of this.results(index, rows, failures)) this.send(result);
    for (const resume of this.awaitingTurn.splice(0)) resume();
  }

  private close(index: number): void {
    this.closed[index] = 1;
    this.open--;
    if (this.open === 0) this.finish();
    else if (this.held.bytes >= HOLD_BYTES) this.flush();
  }

  private take(): WorkResult[] {
    const results = toResults(this.sequence, this.held, this.failures);
    this.held = new HeldOutputs(this.batch);
    this.failures = [];
    return results;
  }

  private finish(): void {
    const results = this.take();
    const last = results.at(-1)!;
    last.last = true;
    last.consumed = this.consumed;
    this.leave(performance.now());
    last.busy = toDuration(this.busyMs);
    this.onDone(this);
    for (const result of results) this.send(result);
    for (const resume of this.awaitingTurn.splice(0)) resume();
  }
}
