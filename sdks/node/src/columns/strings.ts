import type { Strings } from "../gen/meshloom/v1/batch.js";
import { MAX_ATTRIBUTE_BYTES, NONE } from "./limits.js";
import { must } from "./malformed.js";
import { readU32, ValuesColumn, writeU32 } from "./values.js";

/** A column of strings in which equal values are stored, and decoded, once. */
export class StringsColumn {
  private readonly decoded: (string | undefined)[];

  private constructor(
    private readonly values: ValuesColumn,
    /** Undefined: one value for all, or positional. */
    private readonly index: Uint32Array | undefined,
  ) {
    this.decoded = new Array<string | undefined>(values.length);
  }

  /** Validates a column of `count` events; undefined when no event has the attribute. */
  static read(
    strings: Strings | undefined,
    where: string,
    count: number,
    maxBytes = MAX_ATTRIBUTE_BYTES,
  ): StringsColumn | undefined {
    if (strings === undefined) return undefined;
    const values = ValuesColumn.read(strings.values, where, maxBytes);
    values.requireUtf8(where);
    if (strings.index.byteLength === 0) {
      must(
        values.length <= 1 || values.length === count,
        () => `${where} has ${values.length} values and no index; expected 0, 1 or ${count}`,
      );
      return values.length === 0 ? undefined : new StringsColumn(values, undefined);
    }
    must(
      strings.index.byteLength === count * 4,
      () => `${where}.index holds ${strings.index.byteLength} bytes, expected ${count * 4}`,
    );
    const index = readU32(strings.index);
    for (let i = 0; i < count; i++) {
      const at = index[i]!;
      must(
        at < values.length || at === NONE,
        () => `${where}.index[${i}] is ${at}, but there are ${values.length} values`,
      );
    }
    return new StringsColumn(values, index);
  }

  /** The string of one event; undefined: absent. */
  at(event: number): string | undefined {
    const value = this.index !== undefined ? this.index[event]! : this.values.length === 1 ? 0 : event;
    if (value === NONE) return undefined;
    return (this.decoded[value] ??= this.values.text(value));
  }
}

/** Builds a string column row by row; rows that set nothing stay NONE. */
export class StringsWriter {
  private readonly known = new Map<string, number>();
  private readonly index: Uint32Array;

  constructor(rows: number) {
    this.index = new Uint32Array(rows).fill(NONE);
  }

  set(row: number, value: string): void {
    let at = this.known.get(value);
    if (at === undefined) this.known.set(value, (at = this.known.size));
    this.index[row] = at;
  }

  /** The column; undefined when no row was set. */
  finish(): Strings | undefined {
    if (this.known.size === 0) return undefined;
    const values = [...this.known.keys()].map((value) => Buffer.from(value));
    const forAll = values.length === 1 && !this.index.includes(NONE);
    return { values: joinValues(values), index: forAll ? NO_INDEX : writeU32(this.index) };
  }
}

/** A column with one value for all. */
export const oneForAll = (value: string): Strings => ({ values: joinValues([Buffer.from(value)]), index: NO_INDEX });

/** Values end to end with their offsets. */
export function joinValues(values: readonly Uint8Array[]): { data: Buffer; ends: Buffer } {
  const ends = new Uint32Array(values.length);
  let end = 0;
  values.forEach((value, i) => (ends[i] = end += value.byteLength));
  return { data: Buffer.concat(values, end), ends: writeU32(ends) };
}

const NO_INDEX = Buffer.alloc(0);
