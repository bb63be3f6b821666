import { isUtf8 } from "node:buffer";
import { endianness } from "node:os";
import type { Values } from "../gen/meshloom/v1/batch.js";
import { Reasons } from "../reasons.js";
import { must } from "./malformed.js";

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

/** Payloads end to end. One growing buffer: text is encoded straight to its place. */
export function joinPayloads(payloads: readonly (string | Buffer)[]): { data: Buffer; ends: Buffer } {
  const ends = new Uint32Array(payloads.length);
  let out = Buffer.allocUnsafe(payloads.reduce((sum, payload) => sum + payload.length, 64));
  let end = 0;
  const reserve = (more: number): void => {
    if (end + more <= out.byteLength) return;
    const bigger = Buffer.allocUnsafe(Math.max(end + more, out.byteLength * 2));
    out.copy(bigger, 0, 0, end);
    out = bigger;
  };
  for (let i = 0; i < payloads.length; i++) {
    const payload = payloads[i]!;
    if (typeof payload === "string") {
      // Three bytes per UTF-16 unit always suffice; near the end of the buffer the exact length is cheaper than growing.
      if (end + payload.length * 3 > out.byteLength) reserve(Buffer.byteLength(payload));
      end += out.write(payload, end, "utf8");
    } else {
      reserve(payload.byteLength);
      end += payload.copy(out, end);
    }
    ends[i] = end;
  }
  return { data: out.subarray(0, end), ends: writeU32(ends) };
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
      must(end >= previous, () => `${where}.ends falls at ${i}: ${end} after ${previous}`);
      must(
        end - previous <= maxBytes,
        () => `${where}[${i}] has ${end - previous} bytes, the limit is ${maxBytes}`,
        tooLarge,
      );
      previous = end;
    }
    must(
      previous === data.byteLength,
      () => `${where}.ends ends at ${previous}, but data has ${data.byteLength} bytes`,
    );
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
    must(isUtf8(this.data), () => `${where} is not valid UTF-8`);
    for (let i = 0; i < this.ends.length; i++) {
      const next = this.data[this.ends[i]!];
      must(next === undefined || (next & 0xc0) !== 0x80, () => `${where}[${i}] ends inside a UTF-8 character`);
    }
  }
}

const EMPTY = new Uint8Array(0);
