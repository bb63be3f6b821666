import type { Span } from "@opentelemetry/api";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { rowSize } from "../columns/outputs.js";
import { Reject } from "../errors.js";
import { type EventFailure, FailureAction } from "../gen/meshloom/v1/process.js";
import { drop, PASS, type Row, toRow } from "../output.js";
import { stepsOf, writePath } from "../paths.js";
import { Reasons } from "../reasons.js";
import { endSpan, startProcess, within } from "../tracing/spans.js";
import { isThenable, type MaybePromise } from "../util.js";
import { Call } from "./call.js";
import type { Dispatcher, Stream } from "./dispatcher.js";
import { Lanes } from "./lanes.js";
import { failureOf, keyHeld } from "./verdicts.js";
import { HOLD_BYTES, type WorkState } from "./work.js";

/** Runs handlers of single events: map, filter, flatMap, sink. */
export class SingleDispatcher implements Dispatcher {
  private readonly works: { work: WorkState; lanes: Lanes }[] = [];
  private readonly calls = new Set<Call>();

  constructor(private readonly stream: Stream) {}

  /** A call that was taken back counts no longer: its handler was told, and may never return. */
  get running(): number {
    return this.calls.size;
  }

  add(work: WorkState): void {
    const { keyOf } = this.stream;
    const lanes = new Lanes(work, keyOf && ((index) => keyOf(work, index)), (index) => {
      work.fail(keyHeld(index));
    });
    this.works.push({ work, lanes });
  }

  startNext(until: number): boolean {
    for (let i = 0; i < this.works.length; i++) {
      const { work, lanes } = this.works[i]!;
      const index = work.done ? undefined : lanes.take();
      if (work.done) this.works.splice(i--, 1);
      else if (index !== undefined) {
        this.follow(work, lanes, index, until);
        return true;
      }
    }
    return false;
  }

  /** Runs calls of a work one after the other: what costs per call rather than per stretch of calls is kept low. */
  private follow(work: WorkState, lanes: Lanes, first: number, until: number): void {
    const { table, id, concurrency } = this.stream;
    const { clock } = table;
    let now = clock.now();
    table.enter(id, work.sequence, first, now);
    work.enter(now);
    try {
      for (let index: number | undefined = first; index !== undefined; index = lanes.take()) {
        table.next(index, now);
        this.start(work, lanes, index, now);
        now = clock.now();
        if (now > until || this.calls.size >= concurrency || this.stream.room() !== undefined) break;
      }
    } finally {
      table.leave();
      work.leave(clock.now());
    }
  }

  private start(work: WorkState, lanes: Lanes, index: number, now: number): void {
    const call = new Call(this.stream, work, index, now);
    const { batch } = work;
    const hop = batch.spans.size === 0 ? undefined : batch.spans.get(index);
    const span = hop === undefined ? undefined : startProcess(this.stream.scope, batch, index, hop);
    let answer: MaybePromise<Answer>;
    try {
      answer = span === undefined ? this.run(call) : within(span, () => this.run(call));
    } catch (error) {
      this.failed(call, lanes, span, error);
      return;
    }
    if (isThenable(answer)) this.wait(call, lanes, span, answer);
    else this.answered(call, lanes, span, answer);
  }

  private wait(call: Call, lanes: Lanes, span: Span | undefined, answer: Promise<Answer>): void {
    const end = (failure: EventFailure): void => {
      this.calls.delete(call);
      if (span !== undefined) endSpan(span, failure);
    };
    call.goesOn({
      abandoned: end,
      timedOut: (failure) => {
        end(failure);
        call.work.fail(failure);
        lanes.ended(call.index, true);
        this.stream.callEnded(call.work);
      },
    });
    this.calls.add(call);
    void answer
      .then(
        (rows) => this.answered(call, lanes, span, rows),
        (error: unknown) => this.failed(call, lanes, span, error),
      )
      .then(() => {
        this.calls.delete(call);
        this.stream.callEnded(call.work);
      });
  }

  private answered(call: Call, lanes: Lanes, span: Span | undefined, rows: Answer): void {
    try {
      call.checkTime();
    } catch (error) {
      this.failed(call, lanes, span, error);
      return;
    }
    if (!call.end()) return;
    if (span !== undefined) endSpan(span, rows.length > 0 || this.isSink ? "delivered" : "consumed");
    call.work.answer(call.index, rows);
    lanes.ended(call.index, false);
  }

  private failed(call: Call, lanes: Lanes, span: Span | undefined, error: unknown): void {
    const failure = failureOf(call.index, error, call.pastTimeout());
    if (!call.end()) return;
    if (span !== undefined) endSpan(span, failure, error);
    call.work.fail(failure);
    lanes.ended(call.index, failure.action !== FailureAction.FAILURE_ACTION_REJECT);
  }

  private get isSink(): boolean {
    return this.stream.definition.role === "sink";
  }

  /** The handler's call and what its result means. Throws what the handler throws. */
  private run(call: Call): MaybePromise<Answer> {
    const { definition } = this.stream;
    const { event } = call;
    if (definition.input === undefined) return this.invoke(call, event);
    const fitted = fit(definition.input, event.json());
    return isThenable(fitted) ? fitted.then((input) => this.invoke(call, input)) : this.invoke(call, fitted);
  }

  private invoke(call: Call, input: unknown): MaybePromise<Answer> {
    const result = this.stream.definition.handler(input, call);
    return isThenable(result) ? result.then((value) => this.interpret(call, value)) : this.interpret(call, result);
  }

  private interpret(call: Call, result: unknown): MaybePromise<Answer> {
    switch (this.stream.definition.role) {
      case "map":
        return this.oneRow(call, result);
      case "filter":
        if (result === true) return PASSED;
        if (result === false || result === drop) return NOTHING;
        throw new Reject(`the filter returned ${describe(result)}; return true or false`, { reason: Reasons.NOT_BOOL });
      case "sink":
        return NOTHING;
      default:
        return this.many(call, result);
    }
  }

  private oneRow(call: Call, value: unknown): Answer {
    if (value === drop) return NOTHING;
    if (value === undefined || value === null) {
      throw new Reject(
        `the handler returned ${describe(value)}; return a value, drop to end the event, or output(null) for JSON null`,
        { reason: Reasons.NO_RESULT },
      );
    }
    return [toRow(value, this.stream.definition.routes, call.work.batch, call.index)];
  }

  private many(call: Call, result: unknown): MaybePromise<Answer> {
    if (result === drop) return NOTHING;
    if (result === undefined || result === null) return this.oneRow(call, result);
    const iterator = iteratorOf(result);
    if (iterator === undefined) {
      throw new Reject(`the handler returned ${describe(result)}; return an array, iterator or (async) generator`, {
        reason: Reasons.NOT_ITERABLE,
      });
    }
    return this.pull(call, iterator, { rows: [], bytes: 0 });
  }

  /** Takes outputs until the iterator ends; sends them in part once they pass 1 MiB. */
  private pull(call: Call, iterator: AnyIterator, held: Held): MaybePromise<Answer> {
    for (;;) {
      const step = iterator.next();
      if (isThenable(step)) return this.pullAsync(call, iterator, step, held);
      if (step.done === true) return held.rows;
      this.keep(call, held, step.value);
      if (held.bytes >= HOLD_BYTES) {
        return this.part(call, held).then((goOn) =>
          goOn ? this.pull(call, iterator, held) : closeIterator(iterator, held.rows),
        );
      }
    }
  }

  private async pullAsync(
    call: Call,
    iterator: AnyIterator,
    first: PromiseLike<IteratorResult<unknown>>,
    held: Held,
  ): Promise<Answer> {
    for (let step = await first; step.done !== true; step = await iterator.next()) {
      this.keep(call, held, step.value);
      const goOn = call.over ? false : held.bytes < HOLD_BYTES || (await this.part(call, held));
      if (!goOn) return closeIterator(iterator, held.rows);
    }
    return held.rows;
  }

  private keep(call: Call, held: Held, value: unknown): void {
    if (value === drop) return;
    const row = this.oneRow(call, value)[0]!;
    held.rows.push(row);
    held.bytes += rowSize(row);
  }

  /** Sends all but the last row; false when the call is over. Time spent waiting is not the handler's. */
  private async part(call: Call, held: Held): Promise<boolean> {
    // Asked again after every wait: nothing may come between the answer and what is sent upon it.
    for (let wait = this.busy(call); wait !== undefined; wait = this.busy(call)) await call.pauseFor(wait);
    if (call.over) return false;
    const last = held.rows.pop()!;
    call.work.sendPart(call.index, held.rows);
    held.rows = [last];
    held.bytes = rowSize(last);
    return true;
  }

  /** What a part of a call's outputs has to wait for: another call's that are under way, or room. */
  private busy(call: Call): Promise<void> | undefined {
    return call.over ? undefined : (call.work.turn(call.index) ?? this.stream.room());
  }
}

type Answer = readonly Row[];
const NOTHING: Answer = [];
const PASSED: Answer = [PASS];

interface Held {
  rows: Row[];
  bytes: number;
}

interface AnyIterator {
  next(): MaybePromise<IteratorResult<unknown>>;
  return?(): unknown;
}

function iteratorOf(value: unknown): AnyIterator | undefined {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  const many = value as Partial<Iterable<unknown> & AsyncIterable<unknown>>;
  return many[Symbol.asyncIterator]?.() ?? many[Symbol.iterator]?.();
}

/** Lets a generator that is no longer wanted run its `finally`. */
async function closeIterator(iterator: AnyIterator, rows: Answer): Promise<Answer> {
  await iterator.return?.();
  return rows;
}

/** Checks a payload against the input schema. Throws `Reject` (PAYLOAD_MISMATCH) that names the fields. */
export function fit(schema: StandardSchemaV1, value: unknown): MaybePromise<unknown> {
  const result = schema["~standard"].validate(value);
  return isThenable(result) ? result.then(fitted) : fitted(result);
}

function fitted(result: StandardSchemaV1.Result<unknown>): unknown {
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map((issue) => {
    const path = writePath(stepsOf(issue));
    return path === "" ? issue.message : `${path}: ${issue.message}`;
  });
  throw new Reject(`the payload does not fit: ${issues.join("; ")}`, { reason: Reasons.PAYLOAD_MISMATCH });
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? "an array" : `a ${typeof value}`;
}
