const KIND = Symbol.for("meshloom.extension");

/** Value of a CloudEvents extension of type URI, as it was written. */
export class Uri {
  /** Tells its kind, also between copies of this package. */
  readonly [KIND] = "uri";

  constructor(
    /** An absolute URI. */
    readonly value: string,
  ) {}

  /** As it was written. */
  toString(): string {
    return this.value;
  }
  /** As it was written. */
  toJSON(): string {
    return this.value;
  }
}

/** Value of a CloudEvents extension of type URI-reference, as it was written. */
export class UriReference {
  /** Tells its kind, also between copies of this package. */
  readonly [KIND] = "uriReference";

  constructor(
    /** An absolute or relative URI reference. */
    readonly value: string,
  ) {}

  /** As it was written. */
  toString(): string {
    return this.value;
  }
  /** As it was written. */
  toJSON(): string {
    return this.value;
  }
}

/** Value of a CloudEvents extension of type Timestamp, to the nanosecond. */
export class Timestamp {
  /** Tells its kind, also between copies of this package. */
  readonly [KIND] = "timestamp";

  /** Throws RangeError unless the nanoseconds fit 64 bits. */
  constructor(
    /** Nanoseconds since the Unix epoch, UTC. */
    readonly ns: bigint,
  ) {
    if (BigInt.asIntN(64, ns) !== ns) throw new RangeError(`a timestamp of ${ns} ns does not fit 64 bits`);
  }

  /** To the millisecond, rounded down. */
  toDate(): Date {
    const [milliseconds, rest] = [this.ns / 1_000_000n, this.ns % 1_000_000n];
    return new Date(Number(rest < 0n ? milliseconds - 1n : milliseconds));
  }

  /** ISO 8601 in UTC, with nine decimals unless it is a whole number of milliseconds. */
  toString(): string {
    const rest = ((this.ns % 1_000_000n) + 1_000_000n) % 1_000_000n;
    const text = this.toDate().toISOString();
    return rest === 0n ? text : `${text.slice(0, -1)}${String(rest).padStart(6, "0")}Z`;
  }
  /** The same. */
  toJSON(): string {
    return this.toString();
  }
}

const kindOf = (value: unknown): unknown =>
  typeof value === "object" && value !== null ? (value as Record<symbol, unknown>)[KIND] : undefined;

// By their brand: an ESM and a CommonJS copy of the package may meet in one process.
export const isUri = (value: unknown): value is Uri => kindOf(value) === "uri";
export const isUriReference = (value: unknown): value is UriReference => kindOf(value) === "uriReference";
export const isTimestamp = (value: unknown): value is Timestamp => kindOf(value) === "timestamp";
