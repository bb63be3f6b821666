/** Milliseconds between the epoch and the start of `performance`'s clock, as far as `Date` has shown it. */
let offset = -Infinity;

/**
 * The time now as [seconds, nanoseconds] since the epoch, to the microsecond.
 *
 * OpenTelemetry starts spans at whole milliseconds of `Date`, so that a span could begin before the hop that it is
 * part of, and end before its own children. `Date` never runs ahead of the true time, and behind it by less than a
 * millisecond: the largest difference to `performance` that was ever seen is the best.
 */
export function preciseNow(): [number, number] {
  const now = performance.now();
  const seen = Date.now() - now;
  // More than a millisecond off: the system's clock was set back.
  if (seen > offset || offset - seen > 2) offset = seen;
  const milliseconds = offset + now;
  return [Math.trunc(milliseconds / 1000), Math.trunc((milliseconds % 1000) * 1e6)];
}
