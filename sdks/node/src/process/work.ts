import type { Batch } from "../columns/batch.js";
import { rowSize } from "../columns/outputs.js";
import type { EventFailure, WorkResult } from "../gen/meshloom/v1/process.js";
import type { Row } from "../output.js";
import { Reasons } from "../reasons.js";
import type { Call } from "./call.js";
import { empty, toResults } from "./results.js";
import { retryFailure, toDuration } from "./verdicts.js";

/** Outputs of one input are held until its call ends or they reach this size. */
export const HOLD_BYTES = 1024 * 1024;

/**
 * The books of one work: every input is closed exactly once, by its outputs, its failure or as consumed.
 * Closing a closed input is a no-op: a call that ends after its work was taken back changes nothing.
 */
export class WorkState {
  /** Calls in hand. */
  readonly running = new Set<Call>();
  /** Handler time so far, milliseconds over all calls. */
  busyMs = 0;

  private readonly closed: Uint8Array;
  private open: number;
  private consumed = 0;
  private rows: Row[] = [];
  private failures: EventFailure[] = [];
  private heldBytes = 0;
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
  }

  /** Whether every input is closed and `last` is sent. */
  get done(): boolean {
    return this.open === 0;
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
    else this.hold(rows);
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
    this.hold(rows);
  }

  /** Ends the work by a failure that names no event; outputs held so far are forgotten. */
  failWhole(failure: EventFailure): void {
    if (this.done) return;
    this.rows = [];
    this.failures = [failure];
    this.consumed = 0;
    this.open = 0;
    this.finish();
  }

  /** Takes the work back: calls past their time are TIMEOUT, everything else open is CANCELLED. */
  cancel(why: string): void {
    if (this.done) return;
    const late = new Set<number>();
    let wholeLate = false;
    for (const call of this.running) {
      if (!call.pastTimeout()) continue;
      if (call.index < this.batch.count) late.add(call.index);
      else wholeLate = true;
    }
    for (const call of this.running) call.abandon(why);
    this.running.clear();
    const timeout = (index: number): EventFailure =>
      retryFailure(index, Reasons.TIMEOUT, `the call took longer than the node's timeout of ${this.timeoutMs} ms`);
    if (wholeLate) {
      this.failWhole(timeout(0xffff_ffff));
      return;
    }
    for (let i = 0; i < this.batch.count; i++) {
      if (this.isClosed(i)) continue;
      this.fail(late.has(i) ? timeout(i) : retryFailure(i, Reasons.CANCELLED, `taken back: ${why}`));
    }
  }

  /** Sends what is closed so far. */
  flush(): void {
    if (this.continuing !== undefined || (this.rows.length === 0 && this.failures.length === 0)) return;
    for (const result of this.take()) this.send(result);
  }

  /** Sends outputs of an input whose call goes on. The caller keeps at least one output back to end with. */
  sendPart(index: number, rows: readonly Row[]): void {
    if (this.isClosed(index) || rows.length === 0) return;
    this.flush();
    this.continuing = index;
    const results = toResults(this.sequence, this.batch, rows, []);
    for (const result of results) {
      if (result.outputs !== undefined) result.outputs.continued = true;
      this.send(result);
    }
  }

  /** Waits while another input's outputs are under way; undefined: no need to. */
  turn(index: number): Promise<void> | undefined {
    if (this.continuing === undefined || this.continuing === index) return undefined;
    return new Promise((resolve) => this.awaitingTurn.push(resolve));
  }

  private hold(rows: readonly Row[]): void {
    for (const row of rows) {
      this.rows.push(row);
      this.heldBytes += rowSize(row);
    }
  }

  private endContinued(rows: readonly Row[], failures: EventFailure[]): void {
    this.continuing = undefined;
    // Alone in its result, the first one after the part: "the last parent named goes on in the next result".
    for (const result of toResults(this.sequence, this.batch, rows, failures)) this.send(result);
    for (const resume of this.awaitingTurn.splice(0)) resume();
  }

  private close(index: number): void {
    this.closed[index] = 1;
    this.open--;
    if (this.open === 0) this.finish();
    else if (this.heldBytes >= HOLD_BYTES) this.flush();
  }

  private take(): WorkResult[] {
    const results = toResults(this.sequence, this.batch, this.rows, this.failures);
    this.rows = [];
    this.failures = [];
    this.heldBytes = 0;
    return results;
  }

  private finish(): void {
    const results = this.rows.length + this.failures.length > 0 ? this.take() : [empty(this.sequence)];
    const last = results.at(-1)!;
    last.last = true;
    last.consumed = this.consumed;
    last.busy = toDuration(this.busyMs);
    this.onDone(this);
    for (const result of results) this.send(result);
    for (const resume of this.awaitingTurn.splice(0)) resume();
  }
}
