import type { Batch } from "./columns/batch.js";
import type { ExtensionValue } from "./columns/extensions.js";
import { Reject } from "./errors.js";
import { Reasons } from "./reasons.js";

/** One event: CloudEvents 1.0 attributes and a payload. Everything is read from the batch when it is asked for. */
export class MeshEvent {
  /** @internal */
  constructor(
    private readonly batch: Batch,
    private readonly index: number,
  ) {}

  /** Whether this is that event of that batch. @internal */
  is(batch: Batch, index: number): boolean {
    return this.batch === batch && this.index === index;
  }

  /** Identity inside Meshloom, 32 hex digits; the same on every attempt: the idempotency key. */
  get uid(): string {
    return this.batch.uid(this.index);
  }
  /** CloudEvents `id`. */
  get id(): string | undefined {
    return this.batch.id(this.index);
  }
  /** CloudEvents `source`. */
  get source(): string | undefined {
    return this.batch.source(this.index);
  }
  /** CloudEvents `type`. */
  get type(): string | undefined {
    return this.batch.type(this.index);
  }
  /** CloudEvents `subject`. */
  get subject(): string | undefined {
    return this.batch.subject(this.index);
  }
  /** CloudEvents `dataschema`. */
  get dataSchema(): string | undefined {
    return this.batch.dataSchema(this.index);
  }
  /** Media type of the payload. */
  get contentType(): string | undefined {
    return this.batch.contentType(this.index);
  }
  /** Time of occurrence, to the millisecond. */
  get time(): Date | undefined {
    const ns = this.timeNs;
    return ns === undefined ? undefined : new Date(Number(ns / 1_000_000n));
  }
  /** Time of occurrence, UTC nanoseconds since the Unix epoch. */
  get timeNs(): bigint | undefined {
    return this.batch.timeNs(this.index);
  }
  /** Ordering key. */
  get key(): string | undefined {
    return this.batch.key(this.index);
  }
  /** The upstream node, when there are several. */
  get from(): string | undefined {
    return this.batch.from(this.index);
  }
  /** CloudEvents extension attributes by name. */
  get extensions(): Record<string, ExtensionValue> {
    return this.batch.extensions(this.index);
  }
  /** The payload's bytes, a view into the batch: copy it to keep it. */
  get data(): Buffer {
    return this.batch.payload(this.index);
  }
  /** The payload as UTF-8 text. */
  text(): string {
    return this.batch.text(this.index);
  }
  /** The payload parsed as JSON. Throws a `Reject` (PAYLOAD_MISMATCH) when it is not JSON. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any, @typescript-eslint/no-unnecessary-type-parameters -- as JSON.parse: the caller states the type
  json<T = any>(): T {
    try {
      return JSON.parse(this.batch.text(this.index)) as T;
    } catch (cause) {
      throw new Reject(`the payload is not JSON: ${(cause as Error).message}`, { reason: Reasons.PAYLOAD_MISMATCH });
    }
  }
}
