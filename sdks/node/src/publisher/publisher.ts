import { randomBytes } from "node:crypto";
import * as grpc from "@grpc/grpc-js";
import { describeError, isReject } from "../errors.js";
import { PublishRequest, PublishResponse } from "../gen/meshloom/v1/ingress.js";
import { checkOptions, encodePayload, isOutput, type SourceOutputOptions } from "../output.js";
import type { SourceEvent } from "../produce/frame.js";
import { PublishError, UnacknowledgedError } from "./errors.js";
import { type Entry, Queue } from "./queue.js";

const PATH = "/meshloom.v1.IngressService/Publish";
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const OPTIONS: grpc.ChannelOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 20_000,
  // A connection that failed elsewhere in the process must not hold this one back.
  "grpc.use_local_subchannel_pool": 1,
};
/** Statuses that another attempt would not change. */
const FATAL = new Set<grpc.status | undefined>([
  grpc.status.INVALID_ARGUMENT,
  grpc.status.NOT_FOUND,
  grpc.status.FAILED_PRECONDITION,
  grpc.status.UNIMPLEMENTED,
  grpc.status.PERMISSION_DENIED,
  grpc.status.UNAUTHENTICATED,
  grpc.status.RESOURCE_EXHAUSTED,
  grpc.status.OUT_OF_RANGE,
]);
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 30_000;

/** Settings of a publisher. */
export interface PublisherOptions {
  /** The pipeline that is meant, so that no other takes the events by mistake. */
  pipeline?: string | undefined;
  /** The source node that is meant, so that no other takes the events by mistake. */
  node?: string | undefined;
  /** Most events that are not acknowledged; default 16,384. */
  queueEvents?: number | undefined;
  /** Most payload bytes that are not acknowledged; default 16 MiB. A larger event goes alone. */
  queueBytes?: number | undefined;
}

/** What became of one event. */
export interface Acknowledgement {
  /** The event's id. */
  readonly id: string;
  /** Resolves once the event is durable; rejects with a PublishError when it will never be. */
  readonly durable: Promise<void>;
}

type Call = grpc.ClientDuplexStream<PublishRequest, PublishResponse>;

/**
 * Publishes events to a source with `use: grpc`, and says when each is durable.
 *
 * Events are gathered into batches for at most 5 ms and sent as the pipeline gives credit. When the connection breaks it
 * is made again, and what was not acknowledged is sent again under the same ids, so that it is the same event to every
 * sink that keys by uid. What is not acknowledged is held in memory, up to a bound at which `publish` waits. It connects
 * in the background, for as long as it takes, and keeps the process alive until it is closed.
 *
 *     const publisher = new Publisher("127.0.0.1:7490");
 *     const { durable } = await publisher.publish(output({ degrees: 21.5 }, { key: "sensor-7" })); // in the queue
 *     await durable;
 *     await publisher.close(10_000);
 */
export class Publisher {
  private readonly queue = new Queue();
  private readonly open = new Map<Entry, string>();
  private openBytes = 0;
  private readonly queueEvents: number;
  private readonly queueBytes: number;
  private readonly pipeline: string;
  private readonly node: string;
  private noMore = false;
  private done = false;
  private rejection: PublishError | undefined;
  private cause: string | undefined;
  private call: Call | undefined;
  /** The transport takes no more now. */
  private congested = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly changed = new Set<() => void>();
  private failures = 0;

  /** @param address HOST:PORT, the `listen` of the source. Throws a TypeError when it is no address. */
  constructor(
    readonly address: string,
    options: PublisherOptions = {},
  ) {
    if (!/^.+:\d+$/.test(address)) {
      throw new TypeError(`"${address}" is no address to publish to: write HOST:PORT, the \`listen\` of the source`);
    }
    this.pipeline = options.pipeline ?? "";
    this.node = options.node ?? "";
    this.queueEvents = options.queueEvents ?? 16_384;
    this.queueBytes = options.queueBytes ?? 16 * 1024 * 1024;
    this.connect();
  }

  /** The same as the constructor. */
  static connect(address: string, options: PublisherOptions = {}): Publisher {
    return new Publisher(address, options);
  }

  /**
   * Queues an event and gives its acknowledgement. Resolves once there is room in the queue: await it, so that the caller
   * is held back when the pipeline is. `event` is what a handler may return: a JSON value, bytes, or `output(...)` with
   * attributes. One without an id gets a UUIDv7 before it is first sent. Rejects with a PublishError.
   */
  async publish(event: unknown): Promise<Acknowledgement> {
    const encoded = encode(event);
    while (!this.noMore && !this.hasRoom(encoded.bytes)) await this.change();
    if (this.noMore) throw this.rejection ?? new PublishError("CLOSED", "the publisher is closed; make another");
    const durable = new Promise<void>((resolve, reject) => {
      const entry: Entry = {
        event: encoded,
        close: (error) => {
          this.open.delete(entry);
          this.openBytes -= encoded.bytes;
          if (error === undefined) resolve();
          else reject(error instanceof PublishError ? error : new PublishError(error.reason, error.message));
          this.announce();
        },
      };
      this.open.set(entry, encoded.id);
      this.openBytes += encoded.bytes;
      this.queue.push(entry, performance.now());
    });
    // Nobody has to wait for it: who does not is no unhandled rejection.
    durable.catch(() => undefined);
    this.pump();
    return { id: encoded.id, durable };
  }

  /** Waits until nothing is unacknowledged. Rejects with UnacknowledgedError after `withinMs`, or PublishError REJECTED. */
  async flush(withinMs: number): Promise<void> {
    const deadline = { over: false };
    const timer = setTimeout(() => {
      deadline.over = true;
      this.announce();
    }, withinMs);
    try {
      while (this.open.size > 0 && !deadline.over && this.rejection === undefined) await this.change();
    } finally {
      clearTimeout(timer);
    }
    if (this.rejection !== undefined) throw this.rejection;
    if (this.open.size > 0) throw new UnacknowledgedError([...this.open.values()], withinMs, this.cause);
  }

  /**
   * Takes no more events, waits as `flush` does, and ends the connection. What was not acknowledged by then is given up:
   * the error names it, and its `durable` rejects with CLOSED.
   */
  async close(withinMs = 30_000): Promise<void> {
    this.noMore = true;
    this.announce();
    try {
      await this.flush(withinMs);
    } finally {
      this.end();
    }
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private hasRoom(bytes: number): boolean {
    return this.open.size === 0 || (this.open.size < this.queueEvents && this.openBytes + bytes <= this.queueBytes);
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.changed.add(resolve));
  }

  private announce(): void {
    const waiting = [...this.changed];
    this.changed.clear();
    for (const resume of waiting) resume();
  }

  private end(): void {
    this.done = true;
    clearTimeout(this.timer);
    this.call?.cancel();
    const text = "the publisher was closed before the event was acknowledged; publish it again with the same id";
    const error = new PublishError("CLOSED", text);
    for (const entry of this.queue.everything()) entry.close(error);
  }

  private connect(): void {
    const client = new grpc.Client(this.address, grpc.credentials.createInsecure(), OPTIONS);
    const call: Call = client.makeBidiStreamRequest(
      PATH,
      (message: PublishRequest) => Buffer.from(PublishRequest.encode(message).finish()),
      (bytes: Buffer) => PublishResponse.decode(bytes),
    );
    this.call = call;
    this.congested = false;
    call.on("data", (response: PublishResponse) => this.take(response));
    call.on("drain", () => {
      this.congested = false;
      this.pump();
    });
    call.on("error", () => undefined); // `status` says the same, and comes always.
    call.on("status", (status: grpc.StatusObject) => {
      client.close();
      this.disconnected(status);
    });
    const { pipeline, node } = this;
    call.write({ request: { $case: "open", value: { pipeline, node, protocol: { min: 1, max: 1 } } } });
  }

  private disconnected(status: grpc.StatusObject): void {
    this.call = undefined;
    clearTimeout(this.timer);
    if (this.done) return;
    this.queue.disconnected(performance.now());
    this.cause = status.details || `the connection to ${this.address} has ended`;
    if (FATAL.has(status.code)) {
      const error = new PublishError("REJECTED", `the source at ${this.address} refused this publisher: ${this.cause}`);
      this.rejection = error;
      this.noMore = true;
      this.done = true;
      for (const entry of this.queue.everything()) entry.close(error);
      this.announce();
      return;
    }
    this.timer = setTimeout(() => this.connect(), backoffMs(this.failures));
    this.failures += 1;
  }

  private take({ response }: PublishResponse): void {
    switch (response?.$case) {
      case "opened":
        this.failures = 0;
        this.cause = undefined;
        break;
      case "credit":
        this.queue.grant(response.value);
        break;
      case "acknowledged":
        this.queue.acknowledged(response.value.sequence);
        break;
      case "refused":
        this.queue.refused(response.value, performance.now());
        break;
      case undefined: // A kind of a later protocol.
        break;
    }
    this.pump();
  }

  /** Sends what may be sent now, and sets the alarm for what may go later. */
  private pump(): void {
    if (this.call === undefined) return;
    clearTimeout(this.timer);
    while (!this.congested) {
      const now = performance.now();
      const wait = this.queue.wait(now);
      if (wait === undefined) return;
      if (wait > 0) {
        this.timer = setTimeout(() => this.pump(), wait);
        return;
      }
      const publication = this.queue.next(now);
      if (publication === undefined) return;
      this.congested = !this.call.write({ request: { $case: "publication", value: publication } });
    }
  }
}

const JSON_TYPE = "application/json";
const BYTES = "application/octet-stream";

function encode(event: unknown): SourceEvent & { readonly id: string } {
  const value = isOutput(event) ? event.value : event;
  const options: SourceOutputOptions & { route?: string | undefined } = isOutput(event) ? event.options : {};
  if (options.checkpoint !== undefined) throw invalid("a publisher has no checkpoints: remove `checkpoint`");
  if (options.settled !== undefined) throw invalid("a publisher tells by `durable`: remove `settled`");
  if (options.route !== undefined) throw invalid("a published event takes no route: remove `route`");
  try {
    checkOptions(options);
    const data = encodePayload(value);
    return {
      // A view that the caller may write to again would change what is sent.
      data: typeof data === "string" ? data : Buffer.from(data),
      bytes: typeof data === "string" ? Buffer.byteLength(data) : data.byteLength,
      contentType: options.contentType ?? (value instanceof Uint8Array ? BYTES : JSON_TYPE),
      id: options.id === undefined || options.id === "" ? uuid7() : options.id,
      options,
      span: undefined,
    };
  } catch (cause) {
    if (!isReject(cause)) throw cause;
    throw invalid(`the event cannot be published: ${describeError(cause)}`, cause);
  }
}

const invalid = (message: string, cause?: unknown): PublishError =>
  new PublishError("INVALID", message, cause === undefined ? undefined : { cause });

/** A UUIDv7, RFC 9562: milliseconds since the Unix epoch, then random bits. */
function uuid7(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The wait before the next attempt: doubling, with equal jitter. */
function backoffMs(failures: number): number {
  const whole = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures, 16));
  return whole / 2 + (Math.random() * whole) / 2;
}
