import { MAX_FAILURE_MESSAGE_BYTES } from "../columns/limits.js";
import { describeError, isReject, isRetry } from "../errors.js";
import type { Duration } from "../gen/google/protobuf/duration.js";
import { type EventFailure, FailureAction } from "../gen/meshloom/v1/process.js";
import { Reasons } from "../reasons.js";

/** A failure that asks for another attempt. */
export const retryFailure = (index: number, reason: string, message: string, afterMs?: number): EventFailure => ({
  index,
  action: FailureAction.FAILURE_ACTION_RETRY,
  reason,
  message: clip(message),
  retryAfter: afterMs === undefined ? undefined : toDuration(afterMs),
});

/** A failure that makes the event a dead letter. */
export const rejectFailure = (index: number, reason: string, message: string): EventFailure => ({
  index,
  action: FailureAction.FAILURE_ACTION_REJECT,
  reason,
  message: clip(message),
  retryAfter: undefined,
});

/** What a thrown value means: Reject and Retry say it themselves, any other exception, or one too late, is a retry. */
export function failureOf(index: number, error: unknown, timedOut: boolean): EventFailure {
  if (timedOut) return retryFailure(index, Reasons.TIMEOUT, `stopped at the node's timeout: ${describeError(error)}`);
  if (isReject(error)) return rejectFailure(index, error.reason, describeError(error));
  if (isRetry(error)) return retryFailure(index, error.reason, describeError(error), error.afterMs);
  return retryFailure(index, Reasons.HANDLER_ERROR, describeError(error));
}

/** The failure of a call that took too long. */
export const timeoutFailure = (index: number, timeoutMs: number): EventFailure =>
  retryFailure(index, Reasons.TIMEOUT, `the call took longer than the node's timeout of ${timeoutMs} ms`);

/** The failure of an event behind one of its key that has to be retried first. */
export const keyHeld = (index: number): EventFailure =>
  retryFailure(index, Reasons.KEY_HELD, "an earlier event of the same key is to be retried first");

/** Milliseconds as a protobuf Duration. */
export function toDuration(ms: number): Duration {
  const nanos = BigInt(Math.max(0, Math.round(ms * 1e6)));
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) };
}

/** A protobuf Duration in milliseconds; undefined stays undefined. */
export const fromDuration = (duration: Duration | undefined): number | undefined =>
  duration === undefined ? undefined : Number(duration.seconds) * 1000 + duration.nanos / 1e6;

/** Well-formed and at most 4 KiB, cut at a character. */
export function clip(message: string): string {
  const bytes = Buffer.from(message);
  if (bytes.byteLength <= MAX_FAILURE_MESSAGE_BYTES) return message;
  let end = MAX_FAILURE_MESSAGE_BYTES;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}
