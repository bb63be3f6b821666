import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { asBuffer } from "../columns/values.js";
import { ServeError } from "../errors.js";
import { Code, plain, type StreamStatus } from "../status.js";
import { here } from "./here.cjs";
import type { FromTransport, ToTransport, TransportData } from "./messages.js";
import type { Session, Wire } from "./wire.js";

/** Unsent bytes at which a stream's handlers pause. */
const ROOM_BYTES = 8 * 1024 * 1024;

/**
 * The transport thread makes few objects, but each holds a message: with the usual size, collections of the young ones
 * come so seldom that the memory behind them calls for full collections all the time.
 */
const SMALL_YOUNG_GENERATION = { maxYoungGenerationSizeMb: 1 };

/** Makes the session of a new stream; `onOver` must be called once it has ended. */
export type Accept = (wire: Wire, rpc: "Process" | "Produce", onOver: () => void) => Session;

/** The main thread's end of the transport: streams in, sessions out. */
export class Hub {
  private readonly worker: Worker;
  private readonly streams = new Map<number, { session: Session; wire: PortWire }>();
  private readonly idle: (() => void)[] = [];
  private draining = false;
  /** Rejects when the transport thread dies. */
  readonly broken: Promise<never>;

  constructor(
    data: TransportData,
    private readonly accept: Accept,
  ) {
    this.worker = new Worker(join(here, "worker.js"), { workerData: data, resourceLimits: SMALL_YOUNG_GENERATION });
    this.broken = new Promise((_, reject) => {
      this.worker.on("error", (error) =>
        reject(new ServeError(`the transport thread died: ${error.message}`, 70, error)),
      );
    });
    this.broken.catch(() => undefined);
  }

  /** Waits until the server listens; returns its address. Throws `ServeError`. */
  async listening(): Promise<string> {
    const [message] = (await Promise.race([once(this.worker, "message"), this.broken])) as [FromTransport];
    if (message.kind === "failed") {
      await this.worker.terminate();
      throw new BindError(message.message, message.inUse);
    }
    if (message.kind !== "listening") throw new ServeError(`the transport thread said ${message.kind} first`, 70);
    this.worker.on("message", (next: FromTransport) => this.receive(next));
    return message.address;
  }

  /** Health goes NOT_SERVING, streams finish what they hold; resolves when the last has ended. */
  async drain(): Promise<void> {
    this.draining = true;
    this.post({ kind: "notServing" });
    for (const { session } of [...this.streams.values()]) session.drain();
    if (this.streams.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  /** Closes the server and ends the transport thread. */
  async close(): Promise<void> {
    const exit = once(this.worker, "exit");
    this.post({ kind: "close" });
    await exit;
  }

  private receive(message: FromTransport): void {
    if (message.kind === "open") {
      this.open(message.stream, message.rpc);
      return;
    }
    if (!("stream" in message)) return;
    const stream = this.streams.get(message.stream);
    if (stream === undefined) return;
    switch (message.kind) {
      case "message":
        stream.session.receive(asBuffer(message.message));
        break;
      case "halfClosed":
        stream.session.halfClosed();
        break;
      case "sent":
        stream.wire.sent(message.message.byteLength);
        break;
      case "gone":
        stream.wire.sent(Infinity);
        stream.session.gone();
        break;
    }
  }

  private open(id: number, rpc: "Process" | "Produce"): void {
    const wire = new PortWire(id, (message, transfer) => this.post(message, transfer));
    if (this.draining) {
      wire.end(plain(Code.UNAVAILABLE, "the node is draining: it takes no new streams"));
      return;
    }
    const session = this.accept(wire, rpc, () => {
      this.streams.delete(id);
      if (this.streams.size === 0) for (const resume of this.idle.splice(0)) resume();
    });
    this.streams.set(id, { session, wire });
  }

  private post(message: ToTransport, transfer: ArrayBuffer[] = []): void {
    this.worker.postMessage(message, transfer);
  }
}

/** The server could not bind. */
export class BindError extends Error {
  constructor(
    message: string,
    readonly inUse: boolean,
  ) {
    super(message);
  }
}

/** A stream over the message port. */
class PortWire implements Wire {
  private unsent = 0;
  private waiting: (() => void)[] = [];
  private ended = false;

  constructor(
    readonly id: number,
    private readonly post: (message: ToTransport, transfer?: ArrayBuffer[]) => void,
  ) {}

  send(message: Uint8Array, closesWork = false): void {
    if (this.ended) return;
    this.unsent += message.byteLength;
    this.post({ kind: "send", stream: this.id, message, closesWork }, [message.buffer as ArrayBuffer]);
  }

  room(): Promise<void> | undefined {
    if (this.unsent < ROOM_BYTES) return undefined;
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  end(status?: StreamStatus): void {
    if (this.ended) return;
    this.ended = true;
    this.post({ kind: "end", stream: this.id, status });
  }

  /** The transport has written this much. */
  sent(bytes: number): void {
    this.unsent = Math.max(0, this.unsent - bytes);
    if (this.unsent < ROOM_BYTES) for (const resume of this.waiting.splice(0)) resume();
  }
}
