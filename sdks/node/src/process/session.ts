import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Batch } from "../columns/batch.js";
import { MAX_BATCH_BYTES, WHOLE } from "../columns/limits.js";
import { Malformed, must } from "../columns/malformed.js";
import type { Definition } from "../definition.js";
import { describeError } from "../errors.js";
import {
  type OpenProcess,
  Ordering,
  ProcessRequest,
  ProcessResponse,
  type Work,
  type WorkResult,
} from "../gen/meshloom/v1/process.js";
import type { Instances } from "../instances.js";
import { open, type Ready, Refused } from "../opening.js";
import { Reasons } from "../reasons.js";
import { Code, errorInfo } from "../status.js";
import type { CallTable } from "../transport/calls.js";
import type { Session, Wire } from "../transport/wire.js";
import { turnOfLoop } from "../util.js";
import { BatchDispatcher } from "./batch.js";
import type { Dispatcher, Stream } from "./dispatcher.js";
import { empty } from "./results.js";
import type { Scope } from "./scope.js";
import { SingleDispatcher } from "./single.js";
import { fromDuration, retryFailure } from "./verdicts.js";
import { WorkState } from "./work.js";

/** How long handlers may follow one another before the event loop gets its turn (Cancel, timers, other streams). */
const SLICE_MS = 10;
/** How long results of ended calls wait for company while others of their work still run. */
const FLUSH_MS = 5;
/** Handler calls at one time, unless the node or the pipeline file says otherwise. */
const DEFAULT_CONCURRENCY = { event: 16, batch: 4 };

/** One Process stream. */
export class ProcessSession implements Session {
  private readonly works = new Map<bigint, WorkState>();
  private core: Core | undefined;
  private opening = false;
  /** Messages that came before the handler was ready. */
  private early: Buffer[] = [];
  private ending = false;
  private draining = false;
  private over = false;
  private pumping = false;
  private scheduled = false;
  private flushTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly wire: Wire,
    private readonly definitions: readonly Definition[],
    private readonly instances: Instances,
    private readonly table: CallTable,
    private readonly onOver: () => void,
  ) {}

  receive(message: Buffer): void {
    if (this.over) return;
    if (this.opening) {
      this.early.push(message);
      return;
    }
    let request: ProcessRequest["request"];
    try {
      ({ request } = ProcessRequest.decode(message));
    } catch (error) {
      this.violation(`a request cannot be decoded: ${describeError(error)}`);
      return;
    }
    if (this.core === undefined) {
      if (request?.$case === "open") void this.open(request.value);
      else this.violation("the first request of a Process stream must be open");
      return;
    }
    switch (request?.$case) {
      case "work":
        this.addWork(this.core, request.value, message.byteLength);
        break;
      case "cancel":
        this.works.get(request.value.sequence)?.cancel(request.value.reason || "cancelled by the coordinator");
        this.pump();
        break;
      case "open":
        this.violation("open came twice: it is the first request of a stream, once");
        break;
      case undefined: // A request of a later protocol version.
        break;
    }
  }

  halfClosed(): void {
    this.ending = true;
    this.endIfIdle();
  }

  drain(): void {
    this.draining = true;
    this.halfClosed();
  }

  gone(): void {
    if (this.over) return;
    this.close();
    for (const work of [...this.works.values()]) work.cancel("the stream is gone");
  }

  private async open(request: OpenProcess): Promise<void> {
    this.opening = true;
    try {
      const ready = await open(request, "Process", this.definitions, this.instances);
      if (this.over) return;
      this.core = new Core(ready, request, this.wire, this.table, (work) => this.callEnded(work));
      this.wire.send(encodeResponse({ response: { $case: "opened", value: ready.opened } }));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!this.over) this.wire.end(error.status);
      this.close();
      return;
    } finally {
      this.opening = false;
    }
    for (const message of this.early.splice(0)) this.receive(message);
    this.endIfIdle();
  }

  private addWork(core: Core, wire: Work, bytes: number): void {
    const { sequence } = wire;
    if (this.works.has(sequence)) {
      this.violation(`work ${sequence} came twice: a sequence is used once per stream`);
      return;
    }
    try {
      const batch = this.validate(core, wire, bytes);
      const work = new WorkState(
        sequence,
        batch,
        fromDuration(wire.timeout),
        (result) => this.sendResult(result),
        (done) => this.works.delete(done.sequence),
      );
      this.works.set(sequence, work);
      if (this.draining) {
        work.cancel("the node is draining");
        this.endIfIdle();
        return;
      }
      core.dispatcher.add(work);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.sendResult({ ...empty(sequence), failures: [retryFailure(WHOLE, error.reason, error.message)], last: true });
      return;
    }
    this.pump();
  }

  private validate(core: Core, wire: Work, bytes: number): Batch {
    const { maxInFlightWorks, maxBatchEvents, maxBatchBytes } = core.definition.limits;
    must(wire.batch !== undefined, () => "the work has no batch");
    must(
      this.works.size < maxInFlightWorks,
      () => `${this.works.size} works are in hand, the limit of this node is ${maxInFlightWorks}`,
      Reasons.LIMITS_EXCEEDED,
    );
    const { count } = wire.batch;
    must(
      count <= maxBatchEvents,
      () => `the batch has ${count} events, the limit of this node is ${maxBatchEvents}`,
      Reasons.BATCH_TOO_LARGE,
    );
    const limit = Math.min(maxBatchBytes, MAX_BATCH_BYTES);
    const size = bytes - wire.attempts.byteLength - WORK_OVERHEAD_BYTES;
    must(size <= limit, () => `the batch has ${size} bytes, the limit is ${limit}`, Reasons.BATCH_TOO_LARGE);
    return new Batch(wire.batch, wire.attempts);
  }

  /** Starts calls while there is room for them, yielding to the event loop now and then. */
  private pump(): void {
    const core = this.core;
    if (this.pumping || this.scheduled || core === undefined) return;
    this.pumping = true;
    const { clock } = core.table;
    const until = clock.look() + SLICE_MS;
    try {
      for (;;) {
        if (core.dispatcher.running >= core.concurrency) break;
        const room = this.wire.room();
        if (room !== undefined) {
          this.later(room);
          break;
        }
        if (!core.dispatcher.startNext(until)) break;
        if (clock.now() > until) {
          this.flush();
          this.later(turnOfLoop());
          break;
        }
      }
    } finally {
      this.pumping = false;
    }
    this.armFlush();
    this.endIfIdle();
  }

  private later(when: Promise<void>): void {
    this.scheduled = true;
    void when.then(() => {
      this.scheduled = false;
      this.pump();
    });
  }

  private callEnded(work: WorkState): void {
    if (!work.done) this.armFlush();
    this.pump();
  }

  private armFlush(): void {
    if (this.works.size === 0 || this.scheduled || this.over) return;
    this.flushTimer ??= setTimeout(() => {
      this.flushTimer = undefined;
      this.flush();
    }, FLUSH_MS);
  }

  private flush(): void {
    for (const work of this.works.values()) work.flush();
  }

  private sendResult(result: WorkResult): void {
    if (this.over) return;
    this.wire.send(encodeResponse({ response: { $case: "result", value: result } }), result.last);
  }

  private endIfIdle(): void {
    if (!this.ending || this.over || this.opening || this.works.size > 0) return;
    this.wire.end();
    this.close();
  }

  private violation(message: string): void {
    this.wire.end(errorInfo(Code.INVALID_ARGUMENT, Reasons.PROTOCOL_VIOLATION, message));
    this.gone();
  }

  private close(): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.flushTimer);
    this.onOver();
  }
}

/** One writer for all answers: its buffer has grown to their size. */
let writer = new BinaryWriter();
/** Largest answer whose buffer is kept for the next. */
const KEPT_BYTES = 4 * 1024 * 1024;

function encodeResponse(response: ProcessResponse): Uint8Array {
  const message = ProcessResponse.encode(response, writer).finish();
  if (message.byteLength > KEPT_BYTES) writer = new BinaryWriter();
  return message;
}

/** Field tags, sequence and timeout around the batch. */
const WORK_OVERHEAD_BYTES = 64;

/** An opened stream: handler, ordering, concurrency. */
class Core implements Stream {
  readonly definition: Definition;
  readonly scope: Scope;
  readonly id: number;
  readonly keyOf: Stream["keyOf"];
  readonly concurrency: number;
  readonly dispatcher: Dispatcher;

  constructor(
    ready: Ready,
    request: OpenProcess,
    private readonly wire: Wire,
    readonly table: CallTable,
    readonly callEnded: (work: WorkState) => void,
  ) {
    this.definition = ready.definition;
    this.scope = ready.scope;
    this.id = wire.id;
    const all = request.ordering === Ordering.ORDERING_ALL;
    this.keyOf = all
      ? () => ""
      : request.ordering === Ordering.ORDERING_KEY
        ? (work, index) => work.batch.key(index)
        : undefined;
    const batches = this.definition.role === "batch";
    const usual = this.definition.concurrency || (batches ? DEFAULT_CONCURRENCY.batch : DEFAULT_CONCURRENCY.event);
    this.concurrency = all ? 1 : request.concurrency || usual;
    this.dispatcher = batches ? new BatchDispatcher(this) : new SingleDispatcher(this);
  }

  room(): Promise<void> | undefined {
    return this.wire.room();
  }
}
