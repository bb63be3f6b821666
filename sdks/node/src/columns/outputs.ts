import type { Outputs } from "../gen/meshloom/v1/process.js";
import { timeToNs, type OutputOptions, type Row } from "../output.js";
import type { Batch } from "./batch.js";
import { extensionColumns, ExtensionsWriter } from "./extensions.js";
import { MAX_BATCH_EVENTS, MAX_EXTENSIONS, TIME_ABSENT, TIME_AS_PARENT, WHOLE } from "./limits.js";
import { oneForAll, StringsWriter } from "./strings.js";
import { PayloadWriter, writeI64, writeU32 } from "./values.js";

/** Outputs are cut into parts of about this much, so that no message comes near the limit of 64 MiB. */
const PART_BYTES = 4 * 1024 * 1024;

const ATTRIBUTES = ["type", "subject", "key", "id", "route", "dataSchema"] as const;

/** Bytes that a row takes beside payload and attributes, about. */
const ROW_BYTES = 16;

/** Bytes that a row adds to a result, about: exact for bytes, UTF-16 length for text. */
export function rowSize({ data, options }: Row): number {
  return ROW_BYTES + (data === undefined ? 0 : data.length) + (options === undefined ? 0 : attributeSize(options));
}

function attributeSize(options: OutputOptions): number {
  let size = 0;
  for (const name of ATTRIBUTES) size += options[name]?.length ?? 0;
  for (const value of Object.values(options.extensions ?? {})) {
    size += typeof value === "string" || value instanceof Uint8Array ? value.length : 64;
  }
  return size;
}

/** Outputs that wait to be sent, in columns from the start: a column that rows so far do not need is not there yet. */
export class HeldOutputs {
  count = 0;
  /** What options take on the wire, about. */
  private attributeBytes = 0;
  /** The inputs; undefined: output i came from input i. */
  private parents: number[] | undefined;
  private ascending = true;
  /** Undefined: all pass unchanged. */
  private payloads: PayloadWriter | undefined;
  /** Of every row, while `contentTypes` is undefined. */
  private contentType: string | undefined;
  private contentTypes: (string | undefined)[] | undefined;
  private options: (OutputOptions | undefined)[] | undefined;

  /** `batch` supplies the payloads of rows that pass among ones that do not. */
  constructor(private readonly batch: Batch) {}

  /** About what they take on the wire. */
  get bytes(): number {
    return this.count * ROW_BYTES + (this.payloads?.byteLength ?? 0) + this.attributeBytes;
  }

  add(parent: number, { data, contentType, options }: Row): void {
    const at = this.count++;
    if (this.parents !== undefined || parent !== at) this.addParent(at, parent);
    if (data !== undefined) (this.payloads ??= this.passed(at)).add(data);
    else this.payloads?.add(this.payloadOf(parent));
    if (this.contentTypes !== undefined) this.contentTypes.push(contentType);
    else if (at === 0) this.contentType = contentType;
    else if (contentType !== this.contentType) {
      this.contentTypes = [...new Array<string | undefined>(at).fill(this.contentType), contentType];
    }
    if (options !== undefined) {
      (this.options ??= [])[at] = options;
      this.attributeBytes += attributeSize(options);
    }
  }

  /** The columns, ascending by parent, in as many parts as their size asks for. */
  encode(): Outputs[] {
    if (!this.ascending) return this.sorted().encode();
    const { count } = this;
    const whole = this.bytes <= PART_BYTES && count <= MAX_BATCH_EVENTS && this.options === undefined;
    let from = 0;
    return (whole ? [count] : this.cut()).map((to) => {
      const outputs = this.part(from, to);
      from = to;
      return outputs;
    });
  }

  private addParent(at: number, parent: number): void {
    this.parents ??= Array.from({ length: at }, (_, i) => i);
    if (at > 0 && parent < this.parents[at - 1]!) this.ascending = false;
    this.parents.push(parent);
  }

  private parentOf(at: number): number {
    return this.parents === undefined ? at : this.parents[at]!;
  }

  private row(at: number): Row {
    return {
      data: this.payloads?.at(at),
      contentType: this.contentTypes === undefined ? this.contentType : this.contentTypes[at],
      options: this.options?.[at],
    };
  }

  /** Calls end in any order; the sort is stable, so the outputs of one input keep theirs. */
  private sorted(): HeldOutputs {
    const order = Array.from({ length: this.count }, (_, at) => at);
    order.sort((a, b) => this.parentOf(a) - this.parentOf(b));
    const held = new HeldOutputs(this.batch);
    for (const at of order) held.add(this.parentOf(at), this.row(at));
    return held;
  }

  /** The payloads of the first rows, which were thought to pass unchanged. */
  private passed(count: number): PayloadWriter {
    const payloads = new PayloadWriter(this.batch.count, this.batch.data.byteLength * ROOM);
    for (let at = 0; at < count; at++) payloads.add(this.payloadOf(this.parentOf(at)));
    return payloads;
  }

  private payloadOf(parent: number): Buffer {
    return parent === WHOLE ? EMPTY : this.batch.payload(parent);
  }

  private part(from: number, to: number): Outputs {
    const count = to - from;
    const positional = this.parents === undefined && count === this.batch.count;
    const parents = Uint32Array.from({ length: positional ? 0 : count }, (_, i) => this.parentOf(from + i));
    const options = this.options?.slice(from, to);
    return {
      count,
      parent: writeU32(parents),
      continued: to < this.count && this.parentOf(to) === this.parentOf(to - 1),
      payload: this.payloads?.slice(from, to),
      contentType: this.contentTypeColumn(from, to),
      ...(options === undefined ? NO_ATTRIBUTES : encodeAttributes(options, parents, count)),
    };
  }

  private contentTypeColumn(from: number, to: number): Outputs["contentType"] {
    if (this.contentTypes !== undefined) return strings(this.contentTypes.slice(from, to), to - from, (type) => type);
    return this.contentType === undefined ? undefined : oneForAll(this.contentType);
  }

  /** Where the parts end. */
  private cut(): number[] {
    const ends: number[] = [];
    let from = 0;
    let bytes = 0;
    let extensions = new Set<string>();
    for (let at = 0; at < this.count; at++) {
      const options = this.options?.[at];
      const size = ROW_BYTES + (this.payloads?.at(at).byteLength ?? 0) + (options ? attributeSize(options) : 0);
      const named = extensionColumns(options?.extensions);
      const columns = named.length === 0 ? extensions.size : new Set([...extensions, ...named]).size;
      if (at > from && (bytes + size > PART_BYTES || at - from >= MAX_BATCH_EVENTS || columns > MAX_EXTENSIONS)) {
        ends.push(at);
        [from, bytes, extensions] = [at, 0, new Set()];
      }
      bytes += size;
      for (const name of named) extensions.add(name);
    }
    return [...ends, this.count];
  }
}

/** Answers are often a little longer than what they answer; a buffer that is too small is copied. */
const ROOM = 1.5;

type Attributes = Pick<Outputs, (typeof ATTRIBUTES)[number] | "time" | "extensions">;

const EMPTY = Buffer.alloc(0);
const NO_ATTRIBUTES: Attributes = {
  type: undefined,
  subject: undefined,
  key: undefined,
  id: undefined,
  route: undefined,
  dataSchema: undefined,
  time: EMPTY,
  extensions: [],
};

/** `parents` is empty when output i came from input i. */
function encodeAttributes(
  options: readonly (OutputOptions | undefined)[],
  parents: Uint32Array,
  count: number,
): Attributes {
  const columns = Object.fromEntries(ATTRIBUTES.map((name) => [name, strings(options, count, (row) => row?.[name])]));
  const extensions = new ExtensionsWriter();
  let time: Buffer | undefined;
  options.forEach((row, i) => {
    if (row?.extensions !== undefined) extensions.set(i, row.extensions);
    if (row?.time === undefined) return;
    time ??= allTimesAs(parents, count);
    time.writeBigInt64LE(row.time === null ? TIME_ABSENT : timeToNs(row.time), i * 8);
  });
  return {
    ...(columns as Omit<Attributes, "time" | "extensions">),
    time: time ?? EMPTY,
    extensions: extensions.finish(count),
  };
}

/** Outputs of the whole batch have no parent whose time they could take. */
function allTimesAs(parents: Uint32Array, count: number): Buffer {
  const times = new BigInt64Array(count).fill(TIME_AS_PARENT);
  parents.forEach((parent, i) => {
    if (parent === WHOLE) times[i] = TIME_ABSENT;
  });
  return writeI64(times);
}

/** A column of `count` rows, of which the last may be missing in `rows`. */
function strings<T>(rows: readonly T[], count: number, pick: (row: T) => string | undefined): Outputs["type"] {
  let writer: StringsWriter | undefined;
  for (let i = 0; i < rows.length; i++) {
    const value = pick(rows[i]!);
    if (value !== undefined) (writer ??= new StringsWriter(count)).set(i, value);
  }
  return writer?.finish();
}
