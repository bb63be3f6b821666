/**
 * A clock that is read for every event. To ask the system costs more than what many a handler does, so it is asked when
 * `look` is called and after each tick of the transport thread, which no handler blocks.
 */
export class Clock {
  private seen = 0;
  private last = performance.now();

  /** `ticks`: counts the transport thread's ticks; undefined: nobody ticks, every reading asks the system. */
  constructor(private readonly ticks: Int32Array | undefined) {}

  /** Milliseconds as `performance.now()`, behind by a tick at most. */
  now(): number {
    if (this.ticks === undefined) return performance.now();
    const tick = this.ticks[0]!;
    if (tick === this.seen) return this.last;
    this.seen = tick;
    return this.look();
  }

  /** The exact time. */
  look(): number {
    return (this.last = performance.now());
  }
}
