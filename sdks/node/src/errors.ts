import { Reasons } from "./reasons.js";

// Brands instead of instanceof: an ESM and a CommonJS copy of the package may meet in one process.
const REJECT = Symbol.for("meshloom.Reject");
const RETRY = Symbol.for("meshloom.Retry");
const CONFIG = Symbol.for("meshloom.ConfigError");

const REASON = /^[A-Z0-9_]{1,64}$/;

function checkedReason(reason: string): string {
  if (!REASON.test(reason)) {
    throw new TypeError(`reason ${JSON.stringify(reason)} is not 1 to 64 characters of [A-Z0-9_]`);
  }
  return reason;
}

/** Throw it to make the event a dead letter now: no attempt will ever succeed. */
export class Reject extends Error {
  /** The class, as in the stack. */
  override readonly name: string = "Reject";
  /** Tells its kind, also between copies of this package. */
  readonly [REJECT] = true;
  /** Stable code, 1 to 64 characters of [A-Z0-9_]. */
  readonly reason: string;

  constructor(message: string, options: { reason?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = checkedReason(options.reason ?? Reasons.REJECTED);
  }
}

/** Throw it to have the event tried again later. Any other exception does the same, without the delay. */
export class Retry extends Error {
  /** The class, as in the stack. */
  override readonly name: string = "Retry";
  /** Tells its kind, also between copies of this package. */
  readonly [RETRY] = true;
  /** Stable code, 1 to 64 characters of [A-Z0-9_]. */
  readonly reason: string;
  /** Earliest time of the next attempt, in milliseconds from now; undefined: as the node's retry policy says. */
  readonly afterMs: number | undefined;

  constructor(
    messageOrOptions: string | RetryOptions = {},
    options: RetryOptions = typeof messageOrOptions === "string" ? {} : messageOrOptions,
  ) {
    super(
      typeof messageOrOptions === "string" ? messageOrOptions : describeCause(options.cause),
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    if (options.afterMs !== undefined && !(options.afterMs >= 0 && options.afterMs <= MAX_DELAY_MS)) {
      throw new RangeError(`afterMs must be 0 to ${MAX_DELAY_MS}, not ${options.afterMs}`);
    }
    this.reason = checkedReason(options.reason ?? Reasons.RETRY);
    this.afterMs = options.afterMs;
  }
}

/** One year; longer delays are mistakes of unit. */
const MAX_DELAY_MS = 366 * 24 * 3600 * 1000;

/** What `Retry` takes. */
export interface RetryOptions {
  /** Earliest time of the next attempt, in milliseconds from now. */
  afterMs?: number | undefined;
  /** What went wrong. */
  cause?: unknown;
  /** Stable code, 1 to 64 characters of [A-Z0-9_]. */
  reason?: string;
}

/** One complaint about a node's config. */
export interface ConfigViolation {
  /** Path of the field, like `db.url`; empty: the config as a whole. */
  field: string;
  /** What is wrong and what to write instead. */
  message: string;
}

/** Throw it from set-up to refuse the config: the pipeline does not start, and its author reads the messages. */
export class ConfigError extends Error {
  /** The class, as in the stack. */
  override readonly name: string = "ConfigError";
  /** Tells its kind, also between copies of this package. */
  readonly [CONFIG] = true;
  /** What is wrong, field by field. */
  readonly violations: readonly ConfigViolation[];

  /** `violations`: one message for the config as a whole, or one for each field. */
  constructor(violations: string | readonly ConfigViolation[]) {
    const list = typeof violations === "string" ? [{ field: "", message: violations }] : violations;
    super(list.map((v) => (v.field ? `${v.field}: ${v.message}` : v.message)).join("; "));
    this.violations = list;
  }
}

/** The node could not be served: bad address, port taken, bad certificate. */
export class ServeError extends Error {
  /** The class, as in the stack. */
  override readonly name: string = "ServeError";
  /** Exit status for a process that can do nothing else: 69 unavailable, 78 configuration, 70 a fault of the SDK. */
  readonly exitCode: number;

  constructor(message: string, exitCode: 69 | 70 | 78, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

const branded = (value: unknown, brand: symbol): boolean =>
  typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[brand] === true;

/** Whether a thrown value is a `Reject`, of any copy of this package. */
export const isReject = (value: unknown): value is Reject => branded(value, REJECT);
/** Whether a thrown value is a `Retry`, of any copy of this package. */
export const isRetry = (value: unknown): value is Retry => branded(value, RETRY);
/** Whether a thrown value is a `ConfigError`, of any copy of this package. */
export const isConfigError = (value: unknown): value is ConfigError => branded(value, CONFIG);

/** The message of any thrown value, with the messages of its causes. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const named = error.name === "Error" || isReject(error) || isRetry(error) || error instanceof ServeError;
  const own = named ? error.message : `${error.name}: ${error.message}`;
  return error.cause === undefined || own === describeCause(error.cause)
    ? own
    : `${own}: ${describeError(error.cause)}`;
}

function describeCause(cause: unknown): string {
  return cause === undefined ? "retry asked for" : describeError(cause);
}
