import type { Attributes } from "@opentelemetry/api";
import type { SourceContext } from "../context.js";
import type { Definition } from "../definition.js";
import type { OpenProduce, Produced } from "../gen/meshloom/v1/produce.js";
import { checkOptions, encodePayload, isOutput, type SourceOutputOptions } from "../output.js";
import type { Scope } from "../process/scope.js";
import { Attr } from "../tracing/names.js";
import { startSend } from "../tracing/spans.js";
import type { Wire } from "../transport/wire.js";
import { isThenable, type MaybePromise, turnOfLoop } from "../util.js";
import type { Credit } from "./credit.js";
import { Frame, type SourceEvent } from "./frame.js";
import { Position } from "./ids.js";
import { Sampler, sampledParent } from "./sampler.js";
import type { Receipt } from "./settlement.js";

/** How long an event waits for company. */
const FRAME_MS = 5;
/** How long events may follow one another before the event loop gets its turn. */
const SLICE_MS = 10;
/** How long a source that was told to stop may take to give the event it is working on. */
const STOP_GRACE_MS = 5000;

interface Source {
  next(): MaybePromise<IteratorResult<unknown>>;
  return?(): unknown;
}

/** A source at work: pulls the generator while there is credit, and cuts frames. */
export class Running {
  private readonly signal: AbortSignal;
  private readonly position: Position;
  private readonly sampler: Sampler;
  private source: Source | undefined;
  private frame = new Frame();
  private sequence = 0n;
  private timer: NodeJS.Timeout | undefined;
  private grace: NodeJS.Timeout | undefined;
  /** Ends the wait for the source's next event. */
  private giveUp: (() => void) | undefined;
  private abandoned = false;

  constructor(
    request: OpenProduce,
    private readonly definition: Definition,
    private readonly context: SourceContext<unknown, unknown>,
    private readonly scope: Scope,
    private readonly credit: Credit,
    private readonly wire: Wire,
    private readonly send: (frame: Produced, receipts: readonly Receipt[]) => void,
  ) {
    this.signal = context.signal;
    this.position = new Position(request.checkpoint);
    this.sampler = new Sampler(request.trace);
  }

  /** Runs to the end of the source (true) or until it is told to stop (false). Throws what the source throws. */
  async run(): Promise<boolean> {
    const onStop = (): void => {
      this.grace = setTimeout(() => this.giveUp?.(), STOP_GRACE_MS);
    };
    if (this.signal.aborted) onStop();
    else this.signal.addEventListener("abort", onStop, { once: true });
    try {
      return await this.pull((this.source = iterate(this.definition.handler(this.context))));
    } catch (error) {
      this.flush();
      throw error;
    } finally {
      clearTimeout(this.grace);
      clearTimeout(this.timer);
    }
  }

  private async pull(source: Source): Promise<boolean> {
    let sliceEnd = performance.now() + SLICE_MS;
    for (;;) {
      while (!this.signal.aborted && !this.credit.allows(this.frame.count + 1, this.frame.bytes + 1)) {
        if (this.frame.count > 0) this.flush();
        else await this.credit.change();
      }
      for (let room = this.wire.room(); room !== undefined && !this.signal.aborted; room = this.wire.room()) await room;
      if (this.signal.aborted) break;
      const step = await this.nextStep(source);
      if (step === undefined) break;
      if (step.done === true) {
        this.flush();
        return !this.signal.aborted;
      }
      await this.add(step.value);
      if (performance.now() > sliceEnd) {
        await turnOfLoop();
        sliceEnd = performance.now() + SLICE_MS;
      }
    }
    this.flush();
    this.leave();
    return false;
  }

  /** The stream is gone: whatever the source still gives is not wanted. */
  abandon(): void {
    this.abandoned = true;
    this.giveUp?.();
    this.leave();
  }

  /** The next step; undefined when the source was told to stop and gives nothing any more. */
  private async nextStep(source: Source): Promise<IteratorResult<unknown> | undefined> {
    const step = source.next();
    if (!isThenable(step)) return step;
    try {
      return await new Promise((resolve, reject) => {
        this.giveUp = () => resolve(undefined);
        step.then(resolve, reject);
      });
    } catch (error) {
      // A source that throws because its signal has aborted has stopped, not failed.
      if (this.signal.aborted) return undefined;
      throw error;
    } finally {
      this.giveUp = undefined;
    }
  }

  private async add(value: unknown): Promise<void> {
    const event = this.toEvent(value);
    if (this.frame.count > 0) {
      const allowed = this.credit.allows(this.frame.count + 1, this.frame.bytes + event.bytes);
      if (!allowed || !this.frame.fits(event)) this.flush();
    }
    while (!this.credit.allows(this.frame.count + 1, this.frame.bytes + event.bytes)) {
      if (this.signal.aborted) return;
      await this.credit.change();
    }
    if (event.options.checkpoint !== undefined) this.position.advance(event.options.checkpoint);
    this.frame.add(event);
    if (this.frame.full) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FRAME_MS);
  }

  private toEvent(value: unknown): SourceEvent {
    if (value === undefined) throw new TypeError("the source yielded undefined; yield a value or output(value, ...)");
    const inner = isOutput(value) ? value.value : value;
    const options = (isOutput(value) ? value.options : {}) as SourceOutputOptions;
    checkOptions(options);
    const data = encodePayload(inner);
    const made = this.position.nextId();
    // The coordinator stores the events of a source that cannot replay before it takes them, under ids of its own.
    const id = options.id ?? (this.definition.source.replays ? made : undefined);
    const contentType =
      options.contentType ?? (inner instanceof Uint8Array ? "application/octet-stream" : "application/json");
    const bytes = Buffer.byteLength(data);
    return { data, bytes, contentType, id, options, span: this.startSpan(id, options) };
  }

  private startSpan(id: string | undefined, options: SourceOutputOptions): SourceEvent["span"] {
    const parent = sampledParent(options.extensions?.["traceparent"]);
    if (parent === undefined && !this.sampler.sample()) return undefined;
    const attributes: Attributes = {};
    if (id !== undefined) attributes[Attr.EVENT_ID] = id;
    if (options.source !== undefined) attributes[Attr.EVENT_SOURCE] = options.source;
    if (options.type !== undefined) attributes[Attr.EVENT_TYPE] = options.type;
    return startSend(this.scope, parent, attributes);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.frame.count === 0 || this.abandoned) return;
    const { frame } = this;
    this.frame = new Frame();
    this.credit.spend(frame.count, frame.bytes);
    const produced = { sequence: ++this.sequence, batch: frame.encode(), checkpoint: this.position.checkpoint };
    this.send(produced, frame.receipts);
  }

  /** Lets a generator run its `finally`; one that still awaits something does so when it wakes. */
  private leave(): void {
    try {
      const left = this.source?.return?.();
      if (isThenable(left)) left.catch((error: unknown) => this.leaveFailed(error));
    } catch (error) {
      this.leaveFailed(error);
    }
  }

  private leaveFailed(error: unknown): void {
    if (!this.signal.aborted) this.scope.logger().error("the source failed while it was closed", { error });
  }
}

function iterate(result: unknown): Source {
  const many = result as Partial<Iterable<unknown> & AsyncIterable<unknown>> | null | undefined;
  const iterator = many?.[Symbol.asyncIterator]?.() ?? many?.[Symbol.iterator]?.();
  if (iterator === undefined) {
    throw new TypeError(
      "the source's handler returned nothing to iterate over; make it a generator or async generator",
    );
  }
  return iterator;
}
