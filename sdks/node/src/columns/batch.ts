import type { Batch as WireBatch } from "../gen/meshloom/v1/batch.js";
import { MeshEvent } from "../event.js";
import { Reasons } from "../reasons.js";
import { ExtensionColumns, type ExtensionValue } from "./extensions.js";
import {
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  MAX_EVENT_BYTES,
  MAX_KEY_BYTES,
  MAX_TRACE_STATE_BYTES,
  TIME_ABSENT,
} from "./limits.js";
import { must } from "./malformed.js";
import { StringsColumn } from "./strings.js";
import { asBuffer, readU32, ValuesColumn } from "./values.js";

/** Trace context of one sampled event. */
export interface HopContext {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** W3C trace flags. */
  readonly traceFlags: number;
  /** W3C tracestate; empty: none. */
  readonly traceState: string;
}

/** A batch of events in columns, validated once; no accessor fails afterwards. Reading copies nothing. */
export class Batch implements Iterable<MeshEvent> {
  /** Number of events. */
  readonly count: number;
  /** All payloads end to end, a view of what was received. */
  readonly data: Buffer;
  /** Where each payload ends in `data`; `count` numbers. */
  readonly ends: Uint32Array;
  /** All uids, 16 bytes per event. */
  readonly uids: Buffer;
  /** Contexts of the sampled events by index. @internal */
  readonly spans: ReadonlyMap<number, HopContext>;

  private readonly payloads: ValuesColumn;
  private readonly times: Buffer;
  private readonly contentTypes: StringsColumn | undefined;
  private readonly idColumn: StringsColumn | undefined;
  private readonly sourceColumn: StringsColumn | undefined;
  private readonly typeColumn: StringsColumn | undefined;
  private readonly subjectColumn: StringsColumn | undefined;
  private readonly keyColumn: StringsColumn | undefined;
  private readonly schemaColumn: StringsColumn | undefined;
  private readonly fromColumn: StringsColumn | undefined;
  private readonly extensionColumns: ExtensionColumns;
  private readonly attempts: Uint32Array | undefined;

  /** Validates a received batch. Throws `Malformed`. @internal */
  constructor(wire: WireBatch, attempts: Uint8Array) {
    const count = wire.count;
    must(count >= 1, () => "batch.count is 0, expected 1 or more");
    must(
      count <= MAX_BATCH_EVENTS,
      () => `batch.count is ${count}, the limit is ${MAX_BATCH_EVENTS}`,
      Reasons.BATCH_TOO_LARGE,
    );
    this.count = count;
    this.payloads =
      wire.payload === undefined
        ? ValuesColumn.read({ data: new Uint8Array(0), ends: new Uint8Array(count * 4) }, "payload", 0, count)
        : ValuesColumn.read(wire.payload, "payload", MAX_EVENT_BYTES, count, Reasons.EVENT_TOO_LARGE);
    this.data = this.payloads.data;
    this.ends = this.payloads.ends;
    must(
      this.data.byteLength <= MAX_BATCH_BYTES,
      () => `payload has ${this.data.byteLength} bytes, the limit is ${MAX_BATCH_BYTES}`,
      Reasons.BATCH_TOO_LARGE,
    );
    must(wire.uid.byteLength === count * 16, () => `uid holds ${wire.uid.byteLength} bytes, expected ${count * 16}`);
    this.uids = asBuffer(wire.uid);
    must(
      wire.time.byteLength === 0 || wire.time.byteLength === count * 8,
      () => `time holds ${wire.time.byteLength} bytes, expected 0 or ${count * 8}`,
    );
    this.times = asBuffer(wire.time);
    this.contentTypes = StringsColumn.read(wire.contentType, "content_type", count);
    this.idColumn = StringsColumn.read(wire.id, "id", count);
    this.sourceColumn = StringsColumn.read(wire.source, "source", count);
    this.typeColumn = StringsColumn.read(wire.type, "type", count);
    this.subjectColumn = StringsColumn.read(wire.subject, "subject", count);
    this.keyColumn = StringsColumn.read(wire.key, "key", count, MAX_KEY_BYTES);
    this.schemaColumn = StringsColumn.read(wire.dataSchema, "data_schema", count);
    this.fromColumn = StringsColumn.read(wire.from, "from", count);
    this.extensionColumns = ExtensionColumns.read(wire.extensions, count);
    this.spans = wire.spans.length === 0 ? NO_SPANS : readSpans(wire);
    must(
      attempts.byteLength === 0 || attempts.byteLength === count * 4,
      () => `attempts holds ${attempts.byteLength} bytes, expected 0 or ${count * 4}`,
    );
    this.attempts = attempts.byteLength === 0 ? undefined : readU32(attempts);
    const none = this.attempts?.indexOf(0) ?? -1;
    must(none < 0, () => `attempts[${none}] is 0, expected 1 or more`);
  }

  /** The payload's bytes, a view. */
  payload(index: number): Buffer {
    return this.payloads.bytes(this.checked(index));
  }

  /** The payload as UTF-8 text. */
  text(index: number): string {
    return this.payloads.text(this.checked(index));
  }

  /** The payload parsed as JSON. Throws a `Reject` (PAYLOAD_MISMATCH) when it is not JSON. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any, @typescript-eslint/no-unnecessary-type-parameters -- as JSON.parse: the caller states the type
  json<T = any>(index: number): T {
    return this.event(index).json<T>();
  }

  /** Identity of the event, 32 hex digits: the idempotency key. */
  uid(index: number): string {
    const at = this.checked(index) * 16;
    return this.uids.toString("hex", at, at + 16);
  }

  /** Time of occurrence, UTC nanoseconds since the Unix epoch; undefined: absent. */
  timeNs(index: number): bigint | undefined {
    if (this.times.byteLength === 0) return undefined;
    const value = this.times.readBigInt64LE(this.checked(index) * 8);
    return value === TIME_ABSENT ? undefined : value;
  }

  /** Media type of the payload. */
  contentType(index: number): string | undefined {
    return this.contentTypes?.at(this.checked(index));
  }
  /** CloudEvents `id`. */
  id(index: number): string | undefined {
    return this.idColumn?.at(this.checked(index));
  }
  /** CloudEvents `source`. */
  source(index: number): string | undefined {
    return this.sourceColumn?.at(this.checked(index));
  }
  /** CloudEvents `type`. */
  type(index: number): string | undefined {
    return this.typeColumn?.at(this.checked(index));
  }
  /** CloudEvents `subject`. */
  subject(index: number): string | undefined {
    return this.subjectColumn?.at(this.checked(index));
  }
  /** Ordering key. */
  key(index: number): string | undefined {
    return this.keyColumn?.at(this.checked(index));
  }
  /** CloudEvents `dataschema`. */
  dataSchema(index: number): string | undefined {
    return this.schemaColumn?.at(this.checked(index));
  }
  /** The upstream, when the node has several. */
  from(index: number): string | undefined {
    return this.fromColumn?.at(this.checked(index));
  }
  /** CloudEvents extension attributes. */
  extensions(index: number): Record<string, ExtensionValue> {
    return this.extensionColumns.of(this.checked(index));
  }
  /** Which attempt this is, from 1. */
  attempt(index: number): number {
    return this.attempts?.[this.checked(index)] ?? 1;
  }

  /** One event of the batch. */
  event(index: number): MeshEvent {
    return new MeshEvent(this, this.checked(index));
  }

  /** All events in order. */
  *[Symbol.iterator](): IterableIterator<MeshEvent> {
    for (let i = 0; i < this.count; i++) yield new MeshEvent(this, i);
  }

  private checked(index: number): number {
    if (!(Number.isInteger(index) && index >= 0 && index < this.count)) {
      throw new RangeError(`there is no event ${index} in a batch of ${this.count}`);
    }
    return index;
  }
}

const NO_SPANS: ReadonlyMap<number, HopContext> = new Map<number, HopContext>();

/** The column must be well-formed; contexts that are not usable are left out: tracing never fails work. */
function readSpans(wire: WireBatch): ReadonlyMap<number, HopContext> {
  const spans = new Map<number, HopContext>();
  let previous = -1;
  for (const [i, span] of wire.spans.entries()) {
    const { index, traceId, spanId } = span;
    must(index < wire.count, () => `spans[${i}].index is ${index}, but there are ${wire.count} events`);
    must(index > previous, () => `spans[${i}].index is ${index} after ${previous}: it must rise`);
    must(traceId.byteLength === 16, () => `spans[${i}].trace_id has ${traceId.byteLength} bytes, expected 16`);
    must(spanId.byteLength === 8, () => `spans[${i}].span_id has ${spanId.byteLength} bytes, expected 8`);
    previous = index;
    const usable =
      span.traceId.some((byte) => byte !== 0) && span.spanId.some((byte) => byte !== 0) && (span.flags & 1) === 1;
    if (!usable) continue;
    spans.set(span.index, {
      traceId: asBuffer(span.traceId).toString("hex"),
      spanId: asBuffer(span.spanId).toString("hex"),
      traceFlags: span.flags & 0xff,
      traceState: Buffer.byteLength(span.traceState) <= MAX_TRACE_STATE_BYTES ? span.traceState : "",
    });
  }
  return spans;
}
