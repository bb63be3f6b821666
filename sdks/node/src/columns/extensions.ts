import { Extension, ExtensionType } from "../gen/meshloom/v1/batch.js";
import { isTimestamp, isUri, isUriReference, Timestamp, Uri, UriReference } from "./extension-types.js";
import { MAX_ATTRIBUTE_BYTES, MAX_BATCH_EVENTS, MAX_EXTENSION_NAME, MAX_EXTENSIONS } from "./limits.js";
import { Reasons } from "../reasons.js";
import { must } from "./malformed.js";
import { joinValues } from "./strings.js";
import { asBuffer, readU32, ValuesColumn, writeU32 } from "./values.js";

/** A CloudEvents extension attribute as JavaScript has it: Integer is a number, Binary a Buffer. */
export type ExtensionValue = boolean | number | string | Buffer | Uri | UriReference | Timestamp;
/** What an output may set: null removes the extension; a URL is taken as a `Uri`, a Date as a `Timestamp`. */
export type ExtensionInput = ExtensionValue | Uint8Array | Date | URL | null;

const NAME = /^[a-z0-9]{1,64}$/;
const FIXED_BYTES = new Map([
  [ExtensionType.EXTENSION_TYPE_BOOLEAN, 1],
  [ExtensionType.EXTENSION_TYPE_INTEGER, 4],
  [ExtensionType.EXTENSION_TYPE_TIMESTAMP, 8],
]);
const TEXT = new Set([
  ExtensionType.EXTENSION_TYPE_STRING,
  ExtensionType.EXTENSION_TYPE_URI,
  ExtensionType.EXTENSION_TYPE_URI_REFERENCE,
]);

/** One validated column. */
class ExtensionColumn {
  constructor(
    readonly name: string,
    readonly type: ExtensionType,
    readonly values: ValuesColumn,
    /** Position of an event's value; undefined: all events are covered. */
    readonly rows: Map<number, number> | undefined,
  ) {}

  at(event: number): ExtensionValue | undefined {
    const row = this.rows === undefined ? event : this.rows.get(event);
    if (row === undefined) return undefined;
    const bytes = this.values.bytes(row);
    switch (this.type) {
      case ExtensionType.EXTENSION_TYPE_BOOLEAN:
        return bytes[0] === 1;
      case ExtensionType.EXTENSION_TYPE_INTEGER:
        return bytes.readInt32LE(0);
      case ExtensionType.EXTENSION_TYPE_TIMESTAMP:
        return new Timestamp(bytes.readBigInt64LE(0));
      case ExtensionType.EXTENSION_TYPE_URI:
        return new Uri(bytes.toString("utf8"));
      case ExtensionType.EXTENSION_TYPE_URI_REFERENCE:
        return new UriReference(bytes.toString("utf8"));
      case ExtensionType.EXTENSION_TYPE_BINARY:
        return bytes;
      default:
        return bytes.toString("utf8");
    }
  }
}

/** The validated extension columns of a batch. */
export class ExtensionColumns {
  private constructor(private readonly columns: readonly ExtensionColumn[]) {}

  static read(extensions: readonly Extension[], count: number): ExtensionColumns {
    must(
      extensions.length <= MAX_EXTENSIONS,
      () => `${extensions.length} extensions, the limit is ${MAX_EXTENSIONS}`,
      Reasons.TOO_MANY_EXTENSIONS,
    );
    const covered = new Map<string, Set<number> | "all">();
    return new ExtensionColumns(extensions.map((e) => readColumn(e, count, covered)));
  }

  /** All extensions of one event. */
  of(event: number): Record<string, ExtensionValue> {
    const found: Record<string, ExtensionValue> = {};
    for (const column of this.columns) {
      const value = column.at(event);
      if (value !== undefined) found[column.name] = value;
    }
    return found;
  }
}

function readColumn(e: Extension, count: number, covered: Map<string, Set<number> | "all">): ExtensionColumn {
  must(NAME.test(e.name), () => `extension name ${JSON.stringify(e.name.slice(0, 80))} is not 1 to 64 of [a-z0-9]`);
  const where = `extension ${e.name}`;
  const known = e.type > ExtensionType.EXTENSION_TYPE_UNSPECIFIED && e.type <= ExtensionType.EXTENSION_TYPE_TIMESTAMP;
  must(known, () => `${where} has the unknown type ${e.type}`);
  must(
    e.index.byteLength % 4 === 0 && e.index.byteLength <= MAX_BATCH_EVENTS * 4,
    () => `${where}.index holds ${e.index.byteLength} bytes`,
  );
  const index = readU32(e.index);
  for (let i = 0; i < index.length; i++) {
    must(index[i]! < count, () => `${where}.index[${i}] is ${index[i]}, but there are ${count} events`);
    must(i === 0 || index[i]! > index[i - 1]!, () => `${where}.index does not rise at ${i}`);
  }
  const rows = index.length === 0 ? undefined : new Map(Array.from(index, (event, row) => [event, row]));
  const values = ValuesColumn.read(e.values, where, MAX_ATTRIBUTE_BYTES, rows?.size ?? count);
  const fixed = FIXED_BYTES.get(e.type);
  if (fixed !== undefined) {
    for (let i = 0; i < values.length; i++) {
      const length = values.ends[i]! - values.start(i);
      must(length === fixed, () => `${where}[${i}] has ${length} bytes, its type has ${fixed}`);
      must(
        e.type !== ExtensionType.EXTENSION_TYPE_BOOLEAN || values.data[values.start(i)]! <= 1,
        () => `${where}[${i}] is a boolean that is neither 0 nor 1`,
      );
    }
  }
  if (TEXT.has(e.type)) values.requireUtf8(where);
  requireUnique(e.name, rows, covered);
  return new ExtensionColumn(e.name, e.type, values, rows);
}

/** An event has a name at most once, over the columns of all types. */
function requireUnique(
  name: string,
  rows: Map<number, number> | undefined,
  covered: Map<string, Set<number> | "all">,
): void {
  const before = covered.get(name);
  if (before === undefined) {
    covered.set(name, rows === undefined ? "all" : new Set(rows.keys()));
    return;
  }
  must(before !== "all" && rows !== undefined, () => `extension ${name} is given twice for one event`);
  for (const event of rows.keys()) {
    must(!before.has(event), () => `extension ${name} is given twice for event ${event}`);
    before.add(event);
  }
}

/** An extension passes a limit of the protocol. */
export class ExtensionLimit extends RangeError {
  constructor(
    message: string,
    readonly reason: string,
  ) {
    super(message);
  }
}

/** Throws a TypeError or RangeError with the remedy unless the extensions can go on the wire. */
export function checkExtensions(extensions: Record<string, ExtensionInput>): void {
  const entries = Object.entries(extensions);
  if (entries.length > MAX_EXTENSIONS) {
    throw new ExtensionLimit(
      `${entries.length} extensions, the limit is ${MAX_EXTENSIONS}`,
      Reasons.TOO_MANY_EXTENSIONS,
    );
  }
  for (const [name, value] of entries) {
    if (!NAME.test(name)) {
      throw new TypeError(`extension name "${name}" is not 1 to ${MAX_EXTENSION_NAME} characters of [a-z0-9]`);
    }
    const bytes = encode(value).bytes.byteLength;
    if (bytes > MAX_ATTRIBUTE_BYTES) {
      const message = `extension ${name} has ${bytes} bytes, the limit is ${MAX_ATTRIBUTE_BYTES}`;
      throw new ExtensionLimit(message, Reasons.ATTRIBUTE_TOO_LARGE);
    }
  }
}

/** Builds extension columns; rows are set in ascending order. */
export class ExtensionsWriter {
  private readonly columns = new Map<
    string,
    { name: string; type: ExtensionType; rows: number[]; values: Uint8Array[] }
  >();

  set(row: number, extensions: Record<string, ExtensionInput>): void {
    for (const [name, input] of Object.entries(extensions)) {
      const { type, bytes } = encode(input);
      const id = `${name}/${type}`;
      let column = this.columns.get(id);
      if (column === undefined) this.columns.set(id, (column = { name, type, rows: [], values: [] }));
      column.rows.push(row);
      column.values.push(bytes);
    }
  }

  /** Number of columns so far. */
  get size(): number {
    return this.columns.size;
  }

  /** The columns for `count` rows. */
  finish(count: number): Extension[] {
    return [...this.columns.values()].map(({ name, type, rows, values }) => ({
      name,
      type,
      values: type === ExtensionType.EXTENSION_TYPE_UNSPECIFIED ? undefined : joinValues(values),
      index: rows.length === count ? Buffer.alloc(0) : writeU32(Uint32Array.from(rows)),
    }));
  }
}

function encode(value: ExtensionInput): { type: ExtensionType; bytes: Uint8Array } {
  if (value === null) return { type: ExtensionType.EXTENSION_TYPE_UNSPECIFIED, bytes: Buffer.alloc(0) };
  if (typeof value === "boolean") {
    return { type: ExtensionType.EXTENSION_TYPE_BOOLEAN, bytes: Buffer.of(value ? 1 : 0) };
  }
  if (typeof value === "string") return { type: ExtensionType.EXTENSION_TYPE_STRING, bytes: Buffer.from(value) };
  if (typeof value === "number") {
    if ((value | 0) !== value) throw new RangeError(`${value} is not a CloudEvents Integer (32 bits); use a string`);
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return { type: ExtensionType.EXTENSION_TYPE_INTEGER, bytes };
  }
  if (value instanceof Uint8Array) return { type: ExtensionType.EXTENSION_TYPE_BINARY, bytes: asBuffer(value) };
  if (value instanceof URL) return { type: ExtensionType.EXTENSION_TYPE_URI, bytes: Buffer.from(value.href) };
  if (isUri(value)) return { type: ExtensionType.EXTENSION_TYPE_URI, bytes: Buffer.from(value.value) };
  if (isUriReference(value)) {
    return { type: ExtensionType.EXTENSION_TYPE_URI_REFERENCE, bytes: Buffer.from(value.value) };
  }
  if (isTimestamp(value)) return timestamp(value.ns);
  if (value instanceof Date && !Number.isNaN(value.getTime())) return timestamp(BigInt(value.getTime()) * 1_000_000n);
  throw new TypeError(
    `an extension cannot be ${String(value)}; use a boolean, 32-bit integer, string, bytes, Timestamp, Date, Uri, UriReference or URL`,
  );
}

function timestamp(ns: bigint): { type: ExtensionType; bytes: Uint8Array } {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(ns);
  return { type: ExtensionType.EXTENSION_TYPE_TIMESTAMP, bytes };
}

/** The columns that these extensions need, as `name/type`. */
export function extensionColumns(extensions: Record<string, ExtensionInput> | undefined): string[] {
  return extensions === undefined
    ? []
    : Object.entries(extensions).map(([name, value]) => `${name}/${encode(value).type}`);
}

/** The extensions that an output sets (or, null, removes), for the test kit. */
export function readOutputExtensions(
  extensions: readonly Extension[],
  count: number,
  row: number,
): Record<string, ExtensionValue | null> {
  const removed = extensions.filter((e) => e.type === ExtensionType.EXTENSION_TYPE_UNSPECIFIED);
  const set = extensions.filter((e) => e.type !== ExtensionType.EXTENSION_TYPE_UNSPECIFIED);
  const found: Record<string, ExtensionValue | null> = ExtensionColumns.read(set, count).of(row);
  for (const { name, index } of removed) {
    if (index.byteLength === 0 || readU32(index).includes(row)) found[name] = null;
  }
  return found;
}
