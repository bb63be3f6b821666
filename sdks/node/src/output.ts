import type { Batch } from "./columns/batch.js";
import { checkExtensions, ExtensionLimit, type ExtensionInput } from "./columns/extensions.js";
import { MAX_ATTRIBUTE_BYTES, MAX_EVENT_BYTES, MAX_KEY_BYTES } from "./columns/limits.js";
import { asBuffer } from "./columns/values.js";
import { Reject } from "./errors.js";
import { MeshEvent } from "./event.js";
import { Reasons } from "./reasons.js";
import type { MaybePromise } from "./util.js";

const OUTPUT = Symbol.for("meshloom.Output");

/** Return it from a map handler to end the event with no output, on purpose. */
export const drop: unique symbol = Symbol.for("meshloom.drop") as never;

/** Attributes of an output. What is not given stays as the parent's; an empty string clears it. */
export interface OutputOptions {
  /** Ordering key, at most 1 KiB. */
  key?: string | undefined;
  /** Route that the output takes; one of the node's declared `routes`. */
  route?: string | undefined;
  /** CloudEvents `type`. */
  type?: string | undefined;
  /** CloudEvents `subject`. */
  subject?: string | undefined;
  /** Time of occurrence: a Date, or nanoseconds since the Unix epoch; null: none. */
  time?: Date | bigint | null | undefined;
  /** Id that is the same on every attempt; the coordinator derives the uid from it. */
  id?: string | undefined;
  /** CloudEvents `dataschema`. */
  dataSchema?: string | undefined;
  /** Extension attributes to set; null removes one. */
  extensions?: Record<string, ExtensionInput> | undefined;
  /** Media type; by default application/json, for bytes application/octet-stream. */
  contentType?: string | undefined;
}

/** Attributes of an event that a source yields. */
export interface SourceOutputOptions<Checkpoint = unknown> extends Omit<OutputOptions, "route"> {
  /** CloudEvents `source`; default PIPELINE/NODE. */
  source?: string | undefined;
  /** Any JSON value: this event and all before it need not come again. Must differ from the one before. */
  checkpoint?: Checkpoint | undefined;
  /**
   * Called once when the event has settled or, if the source does not replay, is durable: the place to acknowledge a
   * message of a queue. May be async; errors are logged. Not called when the stream ends first.
   */
  settled?: (() => MaybePromise<unknown>) | undefined;
}

/** A value with attributes, made by `output`. */
export class Output<T = unknown, O = OutputOptions> {
  /** Tells its kind, also between copies of this package. */
  readonly [OUTPUT] = true;

  /** @internal */
  constructor(
    /** The payload: any JSON value, bytes, or the input event. */
    readonly value: T,
    /** Its attributes. */
    readonly options: O,
  ) {}
}

/**
 * A value with attributes: `output(value, { key, route })`. `output(null)` is JSON null; `output(event, {...})` keeps the
 * event's payload.
 */
export function output<T, O extends OutputOptions | SourceOutputOptions = OutputOptions>(
  value: T,
  options: O = {} as O,
): Output<T, O> {
  return new Output(value, options);
}

/** Whether a value was made by `output`, of any copy of this package. */
export const isOutput = (value: unknown): value is Output =>
  typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[OUTPUT] === true;

/** One output on its way to the wire. */
export interface Row {
  /** The payload; undefined: the parent's, unchanged. */
  readonly data: string | Buffer | undefined;
  /** Media type; undefined: as the parent's. */
  readonly contentType: string | undefined;
  readonly options: OutputOptions | undefined;
}

/** An input that passes unchanged. */
export const PASS: Row = { data: undefined, contentType: undefined, options: undefined };

/**
 * Encodes a value, an `output(...)`, or the input itself, which is event `index` of `batch`: its payload goes on as it is.
 * Throws `Reject` when it cannot go on the wire.
 */
export function toRow(value: unknown, routes: ReadonlySet<string>, batch: Batch, index: number): Row {
  // Asked first, since most results are bytes and a look for the brand of an output goes up their prototypes.
  if (value instanceof Uint8Array) return { data: encodePayload(value), contentType: BYTES, options: undefined };
  if (!isOutput(value)) {
    if (value instanceof MeshEvent && value.is(batch, index)) return PASS;
    return { data: encodePayload(value), contentType: JSON_TYPE, options: undefined };
  }
  const { value: inner, options } = value;
  checkOptions(options, routes);
  if (inner instanceof MeshEvent && inner.is(batch, index)) {
    return { data: undefined, contentType: options.contentType, options };
  }
  const contentType = options.contentType ?? (inner instanceof Uint8Array ? BYTES : JSON_TYPE);
  return { data: encodePayload(inner), contentType, options };
}

const JSON_TYPE = "application/json";
const BYTES = "application/octet-stream";

/** Bytes as they are, anything else as JSON. Throws `Reject` (OUTPUT_INVALID). */
export function encodePayload(value: unknown): string | Buffer {
  if (value instanceof MeshEvent) {
    throw invalid("the event is not the input that the output came from; give its data: output(event.data, {...})");
  }
  const data = value instanceof Uint8Array ? asBuffer(value) : toJson(value);
  const bytes = rowBytes(data);
  if (bytes > MAX_EVENT_BYTES)
    throw invalid(`the output has ${bytes} bytes, the limit is ${MAX_EVENT_BYTES}`, Reasons.EVENT_TOO_LARGE);
  return data;
}

function toJson(value: unknown): string {
  let json: unknown;
  try {
    json = JSON.stringify(value);
  } catch (cause) {
    throw invalid(`the output is not JSON: ${(cause as Error).message.split("\n", 1)[0]!}`);
  }
  if (typeof json === "string") return json;
  throw invalid(`a ${typeof value} has no JSON form; use output(null) for JSON null`);
}

/** Exact size where it may matter, else the length in UTF-16 units. */
function rowBytes(data: string | Buffer): number {
  if (typeof data !== "string") return data.byteLength;
  return data.length * 3 <= MAX_EVENT_BYTES ? data.length : Buffer.byteLength(data);
}

const ATTRIBUTES = ["type", "subject", "id", "dataSchema", "contentType", "source"] as const;

/** Throws `Reject` (OUTPUT_INVALID) unless the options are within the protocol's limits. */
export function checkOptions(
  options: OutputOptions & { source?: string | undefined },
  routes?: ReadonlySet<string>,
): void {
  const { key, route, extensions, time } = options;
  for (const name of ATTRIBUTES) checkText(name, options[name], MAX_ATTRIBUTE_BYTES);
  checkText("key", key, MAX_KEY_BYTES);
  checkText("route", route, MAX_ATTRIBUTE_BYTES);
  if (route !== undefined && route !== "" && routes !== undefined && !routes.has(route)) {
    const remedy = `add it to the node's routes; declared: ${[...routes].join(", ") || "none"}`;
    throw invalid(`route "${route}" is not declared: ${remedy}`, Reasons.ROUTE_UNDECLARED);
  }
  if (time !== undefined && time !== null) timeToNs(time);
  if (extensions !== undefined) {
    try {
      checkExtensions(extensions);
    } catch (cause) {
      const { message } = cause as Error;
      throw invalid(message, cause instanceof ExtensionLimit ? cause.reason : undefined);
    }
  }
}

function checkText(name: string, value: unknown, limit: number): void {
  if (value === undefined) return;
  if (typeof value !== "string") throw invalid(`${name} must be a string, not ${typeof value}`);
  if (value.length * 3 > limit && Buffer.byteLength(value) > limit) {
    throw invalid(`${name} has ${Buffer.byteLength(value)} bytes, the limit is ${limit}`, Reasons.ATTRIBUTE_TOO_LARGE);
  }
}

/** Nanoseconds since the Unix epoch. Throws `Reject` (OUTPUT_INVALID) for an invalid Date or an out-of-range bigint. */
export function timeToNs(time: Date | bigint): bigint {
  if (typeof time === "bigint") {
    if (BigInt.asIntN(64, time) !== time || time < TIME_FLOOR) throw invalid(`time ${time} ns does not fit 64 bits`);
    return time;
  }
  if (!(time instanceof Date)) throw invalid(`time must be a Date or nanoseconds as a bigint, not ${typeof time}`);
  if (Number.isNaN(time.getTime())) throw invalid("time is an invalid Date");
  return timeToNs(BigInt(time.getTime()) * 1_000_000n);
}

/** The two lowest values mean "absent" and "as the parent's". */
const TIME_FLOOR = -(2n ** 63n) + 2n;

const invalid = (message: string, reason: string = Reasons.OUTPUT_INVALID): Reject => new Reject(message, { reason });
