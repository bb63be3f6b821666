import type { Tracer } from "@opentelemetry/api";
import { WHOLE } from "../columns/limits.js";
import type { Context } from "../context.js";
import type { MeshEvent } from "../event.js";
import type { EventFailure } from "../gen/meshloom/v1/process.js";
import type { Logger } from "../log.js";
import { Reasons } from "../reasons.js";
import type { Stream } from "./dispatcher.js";
import type { ReplicaInfo } from "./scope.js";
import { timeoutFailure } from "./verdicts.js";
import type { WorkState } from "./work.js";

/** One handler call, and the context that its handler is given. What a handler does not touch is not made. */
export class Call implements Context {
  private waiting: Waiting | undefined;
  private controller: AbortController | undefined;
  private timer: NodeJS.Timeout | undefined;
  private logger: Logger | undefined;
  private isOver = false;
  private pausedMs = 0;

  constructor(
    private readonly stream: Stream,
    readonly work: WorkState,
    /** The input; WHOLE: the batch. */
    readonly index: number,
    private readonly startedAt: number,
  ) {}

  /** The handler waits for something: other calls run meanwhile. `early` is told if the call ends before its handler. */
  goesOn(early: EarlyEnd): void {
    const { table, id } = this.stream;
    const slot = table.begin(id, this.work.sequence, this.index, this.startedAt);
    this.waiting = { slot, since: table.clock.look(), early };
    this.work.running.add(this);
    this.armTimeout();
  }

  get event(): MeshEvent {
    return this.work.batch.event(this.index);
  }
  get attempt(): number {
    return this.work.batch.attempt(this.index);
  }
  get config(): unknown {
    return this.stream.scope.config;
  }
  get state(): unknown {
    return this.stream.scope.state;
  }
  get pipeline(): string {
    return this.stream.scope.pipeline;
  }
  get node(): string {
    return this.stream.scope.node;
  }
  get replica(): ReplicaInfo {
    return this.stream.scope.replica;
  }
  get tracer(): Tracer {
    return this.stream.scope.tracer;
  }
  get log(): Logger {
    return (this.logger ??= this.stream.scope.logger(this.index === WHOLE ? {} : { uid: this.event.uid }));
  }
  get deadline(): Date | undefined {
    const { timeoutMs } = this.work;
    if (timeoutMs === undefined) return undefined;
    // By the wall clock of this moment: `performance.timeOrigin` does not know that it was set since the start.
    return new Date(Date.now() + timeoutMs - this.elapsedMs());
  }
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.isOver) this.controller.abort(new DOMException("the call is over", "AbortError"));
    }
    return this.controller.signal;
  }

  /** Whether the call's result no longer counts: it has ended, or its work was taken back. */
  get over(): boolean {
    return this.isOver;
  }

  /** Whether the handler has had more time than the node's timeout. */
  pastTimeout(): boolean {
    return this.work.timeoutMs !== undefined && this.elapsedMs() > this.work.timeoutMs;
  }

  /** Throws when the handler has ended, but too late: the coordinator counts on no result any more. */
  checkTime(): void {
    const { timeoutMs } = this.work;
    // The cheap clock first: it is off by no more than its tick.
    if (timeoutMs === undefined || this.stream.table.clock.now() - this.startedAt <= timeoutMs) return;
    if (this.pastTimeout()) throw new Error("it returned too late");
  }

  /** Waits for the coordinator to read. That time is taken off the call's age. */
  async pauseFor(wait: Promise<void>): Promise<void> {
    clearTimeout(this.timer);
    const since = performance.now();
    await wait;
    const ms = performance.now() - since;
    this.pausedMs += ms;
    if (this.waiting === undefined || this.isOver) return;
    this.waiting.since += ms;
    this.stream.table.shift(this.waiting.slot, ms);
    this.armTimeout();
  }

  /** Ends the call; false when it was over already and its result must be ignored. */
  end(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    if (this.waiting !== undefined) this.endWaiting(this.waiting);
    if (this.timer !== undefined) clearTimeout(this.timer);
    return true;
  }

  /** Takes the call back: its signal aborts, its slot is free, whatever it returns later is ignored. */
  abandon(failure: EventFailure): void {
    if (!this.end()) return;
    this.waiting?.early.abandoned(failure);
    const name = failure.reason === Reasons.TIMEOUT ? "TimeoutError" : "AbortError";
    this.controller?.abort(new DOMException(failure.message, name));
  }

  private endWaiting({ slot, since }: Waiting): void {
    this.work.busyMs += this.stream.table.clock.look() - since;
    this.stream.table.end(slot);
    this.work.running.delete(this);
  }

  private elapsedMs(): number {
    return performance.now() - this.startedAt - this.pausedMs;
  }

  private armTimeout(): void {
    clearTimeout(this.timer);
    if (this.work.timeoutMs === undefined) return;
    const left = Math.max(0, this.work.timeoutMs - this.elapsedMs());
    if (left > MAX_TIMER_MS) return;
    this.timer = setTimeout(() => this.timeOut(), left);
  }

  private timeOut(): void {
    if (!this.end()) return;
    const failure = timeoutFailure(this.index, this.work.timeoutMs!);
    // Before others may start: a handler that heeds its signal has let go by then.
    this.controller?.abort(new DOMException(failure.message, "TimeoutError"));
    this.waiting?.early.timedOut(failure);
  }
}

/** setTimeout cannot wait longer, about 25 days. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A call beside which others run. */
interface Waiting {
  /** Its place in the call table. */
  readonly slot: number;
  /** When the handler gave the thread back, plus the time that was not the handler's. */
  since: number;
  readonly early: EarlyEnd;
}

/** What is to be done when a call ends before its handler. */
export interface EarlyEnd {
  /** Its work was taken back, which has closed the input. */
  abandoned(failure: EventFailure): void;
  /** It took too long: the input is to be closed with this failure. */
  timedOut(failure: EventFailure): void;
}
