import type { WorkState } from "./work.js";

/**
 * In which order the inputs of one work may start. Without keys: as they come. With keys: one at a time per key, and
 * once an event has to be retried, its key's later events are held.
 */
export class Lanes {
  private next = 0;
  /** Per key with a call in hand: the inputs behind it. */
  private readonly waiting = new Map<string, number[]>();
  private readonly resumable: number[] = [];
  private readonly held = new Set<string>();

  constructor(
    private readonly work: WorkState,
    /** The key of an input; undefined: it may run beside any other. */
    private readonly keyOf: ((index: number) => string | undefined) | undefined,
    private readonly hold: (index: number) => void,
  ) {}

  /** The next input that may start now. */
  take(): number | undefined {
    const resumed = this.resumable.shift();
    if (resumed !== undefined) return resumed;
    while (this.next < this.work.batch.count && !this.work.done) {
      const index = this.next++;
      const key = this.keyOf?.(index);
      if (key === undefined) return index;
      if (this.held.has(key)) {
        this.hold(index);
        continue;
      }
      const lane = this.waiting.get(key);
      if (lane === undefined) {
        this.waiting.set(key, []);
        return index;
      }
      lane.push(index);
    }
    return undefined;
  }

  /** An input's call has ended; `retried`: its key's later events must wait for it. */
  ended(index: number, retried: boolean): void {
    const key = this.keyOf?.(index);
    if (key === undefined) return;
    const lane = this.waiting.get(key) ?? [];
    if (retried) {
      this.held.add(key);
      this.waiting.delete(key);
      for (const behind of lane) this.hold(behind);
      return;
    }
    const behind = lane.shift();
    if (behind === undefined) this.waiting.delete(key);
    else this.resumable.push(behind);
  }
}
