import { isSpanContextValid, type Span, TraceFlags } from "@opentelemetry/api";
import { extensionColumns, ExtensionsWriter } from "../columns/extensions.js";
import { MAX_BATCH_EVENTS, MAX_EXTENSIONS, TIME_ABSENT } from "../columns/limits.js";
import { StringsWriter } from "../columns/strings.js";
import { joinPayloads, writeI64 } from "../columns/values.js";
import type { Batch, SpanContext, Strings } from "../gen/meshloom/v1/batch.js";
import { type SourceOutputOptions, timeToNs } from "../output.js";
import { preciseNow } from "../tracing/clock.js";
import type { Receipt } from "./settlement.js";

/** A frame is sent once it holds this many payload bytes. */
const FRAME_BYTES = 1024 * 1024;
/** A frame is sent once it holds this many events. */
const FRAME_EVENTS = 4096;

/** One event of a source, ready for the wire. */
export interface SourceEvent {
  readonly data: string | Buffer;
  /** Exact length of `data`, bytes. */
  readonly bytes: number;
  readonly contentType: string;
  /** Undefined: the coordinator gives one. */
  readonly id: string | undefined;
  readonly options: SourceOutputOptions;
  /** The `send` span; undefined: not sampled. */
  readonly span: Span | undefined;
}

/** Events of a source that travel together. */
export class Frame {
  private readonly events: SourceEvent[] = [];
  private readonly extensions = new Set<string>();
  /** Payload bytes so far. */
  bytes = 0;

  get count(): number {
    return this.events.length;
  }

  /** What its events want to be called when they have settled. */
  get receipts(): Receipt[] {
    return this.events.flatMap(({ options }) => options.settled ?? []);
  }

  /** Whether no more events should be added. */
  get full(): boolean {
    return this.bytes >= FRAME_BYTES || this.count >= Math.min(FRAME_EVENTS, MAX_BATCH_EVENTS);
  }

  /** Whether the event's extensions still find room among the frame's columns. */
  fits(event: SourceEvent): boolean {
    const named = extensionColumns(event.options.extensions);
    return named.length === 0 || new Set([...this.extensions, ...named]).size <= MAX_EXTENSIONS;
  }

  add(event: SourceEvent): void {
    this.events.push(event);
    this.bytes += event.bytes;
    for (const name of extensionColumns(event.options.extensions)) this.extensions.add(name);
  }

  /** Ends the spans and puts the events into columns. */
  encode(): Batch {
    const { events } = this;
    const spans: SpanContext[] = [];
    const extensions = new ExtensionsWriter();
    let times: BigInt64Array | undefined;
    events.forEach(({ options, span }, i) => {
      if (options.extensions !== undefined) extensions.set(i, options.extensions);
      if (options.time !== undefined && options.time !== null) {
        times ??= new BigInt64Array(events.length).fill(TIME_ABSENT);
        times[i] = timeToNs(options.time);
      }
      if (span === undefined) return;
      const context = span.spanContext();
      span.end(preciseNow());
      if (!isSpanContextValid(context) || (context.traceFlags & TraceFlags.SAMPLED) === 0) return;
      spans.push({
        index: i,
        traceId: Buffer.from(context.traceId, "hex"),
        spanId: Buffer.from(context.spanId, "hex"),
        flags: context.traceFlags,
        traceState: context.traceState?.serialize() ?? "",
      });
    });
    return {
      count: events.length,
      payload: joinPayloads(events.map((event) => event.data)),
      contentType: column(events, (event) => event.contentType),
      uid: EMPTY,
      time: times === undefined ? EMPTY : writeI64(times),
      id: column(events, (event) => event.id),
      source: column(events, (event) => event.options.source),
      type: column(events, (event) => event.options.type),
      subject: column(events, (event) => event.options.subject),
      key: column(events, (event) => event.options.key),
      dataSchema: column(events, (event) => event.options.dataSchema),
      from: undefined,
      extensions: extensions.finish(events.length),
      spans,
    };
  }
}

const EMPTY = Buffer.alloc(0);

function column(events: readonly SourceEvent[], pick: (event: SourceEvent) => string | undefined): Strings | undefined {
  let writer: StringsWriter | undefined;
  events.forEach((event, i) => {
    const value = pick(event);
    if (value !== undefined && value !== "") (writer ??= new StringsWriter(events.length)).set(i, value);
  });
  return writer?.finish();
}
