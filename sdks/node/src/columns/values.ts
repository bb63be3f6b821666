import { isAscii, isUtf8 } from "node:buffer";
import { endianness } from "node:os";
import type { Values } from "../gen/meshloom/v1/batch.js";
import { Reasons } from "../reasons.js";
import { Malformed, must } from "./malformed.js";

const LITTLE_ENDIAN = endianness() === "LE";

/** The bytes as a Buffer, without a copy. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** u32 little-endian numbers as an array: a view where alignment allows, else a copy. */
export function readU32(bytes: Uint8Array): Uint32Array {
  const length = bytes.byteLength >>> 2;
  if (LITTLE_ENDIAN && bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, length);
  const copy = new Uint32Array(length);
  if (LITTLE_ENDIAN) new Uint8Array(copy.buffer).set(bytes);
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < length; i++) copy[i] = view.getUint32(i * 4, true);
  }
  return copy;
}

/** Numbers as u32 little-endian bytes. */
export function writeU32(numbers: Uint32Array): Buffer {
  const bytes = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return LITTLE_ENDIAN ? bytes : Buffer.from(bytes).swap32();
}

/** Numbers as i64 little-endian bytes. */
export function writeI64(numbers: BigInt64Array): Buffer {
  const bytes = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return LITTLE_ENDIAN ? bytes : Buffer.from(bytes).swap64();
}

/** Payloads end to end. */
export function joinPayloads(payloads: readonly (string | Buffer)[]): { data: Buffer; ends: Buffer } {
  const writer = new PayloadWriter(
    payloads.length,
    payloads.reduce((sum, payload) => sum + payload.length, 0),
  );
  for (const payload of payloads) writer.add(payload);
  return writer.slice(0, payloads.length);
}

/** Payloads end to end, each copied to its place at once: nothing of it is left for the garbage collector to move. */
export class PayloadWriter {
  private out: Buffer;
  private ends: Uint32Array;
  private end = 0;
  private count = 0;

  /** Room for `count` values of `bytes` in all; it grows. */
  constructor(count: number, bytes: number) {
    this.out = Buffer.allocUnsafe(bytes + 64);
    this.ends = new Uint32Array(count);
  }

  /** Bytes so far. */
  get byteLength(): number {
    return this.end;
  }

  add(payload: string | Buffer): void {
    if (typeof payload === "string") this.end = this.text(payload);
    else {
      const end = this.end + payload.byteLength;
      if (end > this.out.byteLength) this.grow(end);
      this.out.set(payload, this.end);
      this.end = end;
    }
    if (this.count === this.ends.length) this.ends = grown(this.ends, Math.max(16, this.count * 2));
    this.ends[this.count++] = this.end;
  }

  /** The value at a place, a view. */
  at(index: number): Buffer {
    return this.out.subarray(index === 0 ? 0 : this.ends[index - 1]!, this.ends[index]);
  }

  /** Values `from` to `to`. Views where they can be: add nothing more while they are in use. */
  slice(from: number, to: number): { data: Buffer; ends: Buffer } {
    const start = from === 0 ? 0 : this.ends[from - 1]!;
    const ends = start === 0 ? this.ends.subarray(from, to) : this.ends.slice(from, to).map((end) => end - start);
    return { data: this.out.subarray(start, ends.length === 0 ? start : start + ends.at(-1)!), ends: writeU32(ends) };
  }

  private text(text: string): number {
    // Three bytes per UTF-16 unit always suffice; near the end of the buffer the exact length is cheaper than growing.
    if (this.end + text.length * 3 > this.out.byteLength) {
      const end = this.end + Buffer.byteLength(text);
      if (end > this.out.byteLength) this.grow(end);
    }
    return this.end + this.out.write(text, this.end, "utf8");
  }

  private grow(bytes: number): void {
    const bigger = Buffer.allocUnsafe(Math.max(bytes, this.out.byteLength * 2));
    this.out.copy(bigger, 0, 0, this.end);
    this.out = bigger;
  }
}

function grown(numbers: Uint32Array, length: number): Uint32Array {
  const bigger = new Uint32Array(length);
  bigger.set(numbers);
  return bigger;
}

/** Values of variable length, validated: no accessor fails afterwards. */
export class ValuesColumn {
  private constructor(
    /** All values end to end. */
    readonly data: Buffer,
    /** Where each value ends in `data`. */
    readonly ends: Uint32Array,
  ) {}

  /** Validates; `count` values are expected when given, each of at most `maxBytes`. */
  static read(
    values: Values | undefined,
    where: string,
    maxBytes: number,
    count?: number,
    tooLarge: string = Reasons.ATTRIBUTE_TOO_LARGE,
  ): ValuesColumn {
    const data = asBuffer(values?.data ?? EMPTY);
    const raw = values?.ends ?? EMPTY;
    must(raw.byteLength % 4 === 0, () => `${where}.ends holds ${raw.byteLength} bytes, not a multiple of 4`);
    must(
      count === undefined || raw.byteLength === count * 4,
      () => `${where}.ends holds ${raw.byteLength / 4} values, expected ${count}`,
    );
    const ends = readU32(raw);
    let previous = 0;
    for (let i = 0; i < ends.length; i++) {
      const end = ends[i]!;
      // No `must` here: it would make two closures per event.
      if (end < previous) throw new Malformed(`${where}.ends falls at ${i}: ${end} after ${previous}`);
      if (end > data.byteLength) throw new Malformed(mismatch(where, end, data));
      if (end - previous > maxBytes) {
        throw new Malformed(`${where}[${i}] has ${end - previous} bytes, the limit is ${maxBytes}`, tooLarge);
      }
      previous = end;
    }
    must(previous === data.byteLength, () => mismatch(where, previous, data));
    return new ValuesColumn(data, ends);
  }

  get length(): number {
    return this.ends.length;
  }

  start(index: number): number {
    return index === 0 ? 0 : this.ends[index - 1]!;
  }

  /** The value's bytes, a view into the batch. */
  bytes(index: number): Buffer {
    return this.data.subarray(this.start(index), this.ends[index]);
  }

  text(index: number): string {
    return this.data.toString("utf8", this.start(index), this.ends[index]);
  }

  /** Throws `Malformed` unless every single value is UTF-8. */
  requireUtf8(where: string): void {
    if (isAscii(this.data)) return;
    must(isUtf8(this.data), () => `${where} is not valid UTF-8`);
    for (let i = 0; i < this.ends.length; i++) {
      const next = this.data[this.ends[i]!];
      must(next === undefined || (next & 0xc0) !== 0x80, () => `${where}[${i}] ends inside a UTF-8 character`);
    }
  }
}

const EMPTY = new Uint8Array(0);

const mismatch = (where: string, end: number, data: Buffer): string =>
  `${where}.ends ends at ${end}, but data has ${data.byteLength} bytes`;
