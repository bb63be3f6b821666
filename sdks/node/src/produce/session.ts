import type { Attributes } from "@opentelemetry/api";
import type { SourceContext } from "../context.js";
import type { Definition } from "../definition.js";
import { describeError, isReject } from "../errors.js";
import { type OpenProduce, ProduceRequest, ProduceResponse, type Settled } from "../gen/meshloom/v1/produce.js";
import type { Instances } from "../instances.js";
import { open, type Ready, Refused } from "../opening.js";
import { checkOptions, encodePayload, isOutput, type SourceOutputOptions } from "../output.js";
import { Reasons } from "../reasons.js";
import { Code, errorInfo } from "../status.js";
import { Attr } from "../tracing/names.js";
import { startSend } from "../tracing/spans.js";
import type { Session, Wire } from "../transport/wire.js";
import { isThenable, type MaybePromise, turnOfLoop } from "../util.js";
import { Credit } from "./credit.js";
import { Frame, type SourceEvent } from "./frame.js";
import { CheckpointRepeated, Position, readCheckpoint } from "./ids.js";
import { Sampler, sampledParent } from "./sampler.js";

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

/** One Produce stream. */
export class ProduceSession implements Session {
  private readonly credit = new Credit();
  private readonly stopping = new AbortController();
  private started = false;
  private running: Running | undefined;
  private settling: Promise<void> = Promise.resolve();
  private over = false;

  constructor(
    private readonly wire: Wire,
    private readonly definitions: readonly Definition[],
    private readonly instances: Instances,
    private readonly onOver: () => void,
  ) {}

  receive(message: Buffer): void {
    if (this.over) return;
    let request: ProduceRequest["request"];
    try {
      ({ request } = ProduceRequest.decode(message));
    } catch (error) {
      this.violation(`a request cannot be decoded: ${describeError(error)}`);
      return;
    }
    if (!this.started && request?.$case !== "open") {
      this.violation("the first request of a Produce stream must be open");
      return;
    }
    switch (request?.$case) {
      case "open":
        if (this.started) this.violation("open came twice: it is the first request of a stream, once");
        else void this.open(request.value);
        break;
      case "demand":
        this.credit.add(request.value.events, request.value.bytes);
        break;
      case "settled":
        this.settled(request.value);
        break;
      case "stop":
        this.stop("the coordinator asked the source to stop");
        break;
      case undefined: // A request of a later protocol version.
        break;
    }
  }

  halfClosed(): void {
    this.stop("the coordinator has closed the stream");
    if (!this.started) this.end();
  }

  drain(): void {
    this.stop("the node is draining");
    if (!this.started) this.end();
  }

  gone(): void {
    this.over = true;
    this.stop("the stream is gone");
    this.running?.abandon();
    this.onOver();
  }

  private stop(why: string): void {
    this.stopping.abort(new DOMException(why, "AbortError"));
    this.credit.wake();
  }

  private async open(request: OpenProduce): Promise<void> {
    this.started = true;
    try {
      const ready = await open(request, "Produce", this.definitions, this.instances);
      if (this.over) return;
      this.send({ $case: "opened", value: ready.opened });
      this.running = new Running(ready, request, this.credit, this.stopping.signal, this.wire, (r) => this.send(r));
      const exhausted = await this.running.run();
      await this.settling;
      if (exhausted) this.send({ $case: "exhausted", value: {} });
      this.end();
    } catch (error) {
      if (this.over) return;
      this.wire.end(error instanceof Refused ? error.status : failed(error));
      this.over = true;
      this.onOver();
    }
  }

  private settled({ checkpoint }: Settled): void {
    const { definition, scope } = this.running ?? {};
    const hook = definition?.source.settled;
    if (hook === undefined) return;
    this.settling = this.settling
      .then(() => hook(readCheckpoint(checkpoint)))
      .catch((error: unknown) => scope?.logger().error("the settled hook failed", { error }));
  }

  private send(response: ProduceResponse["response"]): void {
    if (!this.over) this.wire.send(ProduceResponse.encode({ response }).finish());
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.wire.end();
    this.onOver();
  }

  private violation(message: string): void {
    this.wire.end(errorInfo(Code.INVALID_ARGUMENT, Reasons.PROTOCOL_VIOLATION, message));
    this.gone();
  }
}

const failed = (error: unknown) =>
  errorInfo(
    Code.ABORTED,
    error instanceof CheckpointRepeated
      ? Reasons.CHECKPOINT_REPEATED
      : isReject(error)
        ? error.reason
        : Reasons.SOURCE_FAILED,
    `the source failed: ${describeError(error)}`,
  );

/** A source at work: pulls the generator while there is credit, and cuts frames. */
class Running {
  readonly definition: Definition;
  readonly scope: Ready["scope"];
  private readonly position: Position;
  private readonly sampler: Sampler;
  private readonly source: Source;
  private frame = new Frame();
  private sequence = 0n;
  private timer: NodeJS.Timeout | undefined;
  private grace: NodeJS.Timeout | undefined;
  /** Ends the wait for the source's next event. */
  private giveUp: (() => void) | undefined;
  private abandoned = false;

  constructor(
    ready: Ready,
    request: OpenProduce,
    private readonly credit: Credit,
    private readonly signal: AbortSignal,
    private readonly wire: Wire,
    private readonly send: (response: ProduceResponse["response"]) => void,
  ) {
    this.definition = ready.definition;
    this.scope = ready.scope;
    this.position = new Position(request.checkpoint);
    this.sampler = new Sampler(request.trace);
    this.source = iterate(ready.definition.handler(this.context(readCheckpoint(request.checkpoint))));
  }

  /** Runs to the end of the source (true) or until it is told to stop (false). Throws what the source throws. */
  async run(): Promise<boolean> {
    const onStop = (): void => {
      this.grace = setTimeout(() => this.giveUp?.(), STOP_GRACE_MS);
    };
    if (this.signal.aborted) onStop();
    else this.signal.addEventListener("abort", onStop, { once: true });
    try {
      return await this.pull();
    } catch (error) {
      this.flush();
      throw error;
    } finally {
      clearTimeout(this.grace);
      clearTimeout(this.timer);
    }
  }

  private async pull(): Promise<boolean> {
    let sliceEnd = performance.now() + SLICE_MS;
    for (;;) {
      while (!this.signal.aborted && !this.credit.allows(this.frame.count + 1, this.frame.bytes + 1)) {
        if (this.frame.count > 0) this.flush();
        else await this.credit.change();
      }
      for (let room = this.wire.room(); room !== undefined && !this.signal.aborted; room = this.wire.room()) await room;
      if (this.signal.aborted) break;
      const step = await this.nextStep();
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

  private context(checkpoint: unknown): SourceContext<unknown, unknown> {
    const { config, state, pipeline, node, replica, tracer } = this.scope;
    return {
      config,
      state,
      pipeline,
      node,
      replica,
      tracer,
      checkpoint,
      signal: this.signal,
      log: this.scope.logger(),
    };
  }

  /** The next step; undefined when the source was told to stop and gives nothing any more. */
  private async nextStep(): Promise<IteratorResult<unknown> | undefined> {
    const step = this.source.next();
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
    const id = options.id ?? made;
    const contentType =
      options.contentType ?? (inner instanceof Uint8Array ? "application/octet-stream" : "application/json");
    const bytes = Buffer.byteLength(data);
    return { data, bytes, contentType, id, options, span: this.startSpan(id, options) };
  }

  private startSpan(id: string, options: SourceOutputOptions): SourceEvent["span"] {
    const parent = sampledParent(options.extensions?.["traceparent"]);
    if (parent === undefined && !this.sampler.sample()) return undefined;
    const attributes: Attributes = { [Attr.EVENT_ID]: id };
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
    this.send({ $case: "produced", value: produced });
  }

  /** Lets a generator run its `finally`; one that still awaits something does so when it wakes. */
  private leave(): void {
    try {
      const left = this.source.return?.();
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
