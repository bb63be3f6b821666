import { WHOLE } from "../columns/limits.js";
import { type EventFailure, FailureAction } from "../gen/meshloom/v1/process.js";
import type { Verdict } from "../tracing/names.js";
import { BatchSpans, within } from "../tracing/spans.js";
import { isThenable } from "../util.js";
import { Call } from "./call.js";
import type { Dispatcher, Stream } from "./dispatcher.js";
import { Emitter } from "./emitter.js";
import { failureOf, keyHeld } from "./verdicts.js";
import type { WorkState } from "./work.js";

/** Runs batch handlers: one call per work. */
export class BatchDispatcher implements Dispatcher {
  private readonly works: WorkState[] = [];
  private readonly calls = new Set<Call>();

  constructor(private readonly stream: Stream) {}

  get running(): number {
    return this.calls.size;
  }

  add(work: WorkState): void {
    this.works.push(work);
  }

  startNext(): boolean {
    for (let work = this.works.shift(); work !== undefined; work = this.works.shift()) {
      if (work.done) continue;
      this.start(work);
      return true;
    }
    return false;
  }

  private start(work: WorkState): void {
    const { scope, table, id, definition } = this.stream;
    const now = table.clock.look();
    const call = new Call(this.stream, work, WHOLE, now);
    const emitter = new Emitter(work.batch, definition.routes);
    const spans = work.batch.spans.size === 0 ? undefined : new BatchSpans(scope, work.batch);
    const handle = (): unknown => definition.handler(work.batch, emitter, call);
    table.enter(id, work.sequence, WHOLE, now);
    work.enter(now);
    let result: unknown;
    try {
      result = spans === undefined ? handle() : within(spans.call, handle);
    } catch (error) {
      this.failed(call, spans, error);
      return;
    } finally {
      table.leave();
      work.leave(table.clock.look());
    }
    if (isThenable(result)) this.wait(call, spans, emitter, result);
    else this.answered(call, spans, emitter);
  }

  private wait(call: Call, spans: BatchSpans | undefined, emitter: Emitter, result: Promise<unknown>): void {
    const end = (failure: EventFailure): void => {
      this.calls.delete(call);
      spans?.end(() => failure, failure);
    };
    call.goesOn({
      abandoned: end,
      timedOut: (failure) => {
        end(failure);
        call.work.failWhole(failure);
        this.stream.callEnded(call.work);
      },
    });
    this.calls.add(call);
    void result
      .then(
        () => this.answered(call, spans, emitter),
        (error: unknown) => this.failed(call, spans, error),
      )
      .then(() => {
        this.calls.delete(call);
        this.stream.callEnded(call.work);
      });
  }

  private answered(call: Call, spans: BatchSpans | undefined, emitter: Emitter): void {
    try {
      emitter.check();
      call.checkTime();
    } catch (error) {
      this.failed(call, spans, error);
      return;
    }
    if (!call.end()) return;
    const { work } = call;
    const verdicts: (Verdict | EventFailure)[] = [];
    const held = new Set<string>();
    work.addWhole(emitter.wholeOutputs);
    for (let i = 0; i < work.batch.count; i++) {
      const key = this.stream.keyOf?.(work, i);
      const behind = key !== undefined && held.has(key);
      const fate = behind ? { failure: keyHeld(i) } : emitter.fate(i);
      if (fate === "dropped") {
        verdicts.push("consumed");
        work.consume(i);
      } else if ("rows" in fate) {
        verdicts.push("delivered");
        work.answer(i, fate.rows);
      } else {
        verdicts.push(fate.failure);
        if (key !== undefined && fate.failure.action !== FailureAction.FAILURE_ACTION_REJECT) held.add(key);
        work.fail(fate.failure);
      }
    }
    spans?.end((index) => verdicts[index]!);
  }

  private failed(call: Call, spans: BatchSpans | undefined, error: unknown): void {
    const failure = failureOf(WHOLE, error, call.pastTimeout());
    if (!call.end()) return;
    spans?.end(() => failure, failure);
    call.work.failWhole(failure);
  }
}
