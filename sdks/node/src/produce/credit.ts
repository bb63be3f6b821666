/** What the coordinator allows a source to send. */
export class Credit {
  private events = 0;
  /** An event that is larger than what is left uses all of it up. */
  private bytes = 0;
  private waiting: (() => void)[] = [];

  /** Adds to what is left. */
  add(events: bigint, bytes: bigint): void {
    this.events = Math.min(Number.MAX_SAFE_INTEGER, this.events + Number(events));
    this.bytes = Math.min(Number.MAX_SAFE_INTEGER, this.bytes + Number(bytes));
    this.wake();
  }

  /** Whether `events` and `bytes` may be in one frame: within the credit, or one event while any credit is left. */
  allows(events: number, bytes: number): boolean {
    if (this.events <= 0 || this.bytes <= 0) return false;
    return events === 1 || (events <= this.events && bytes <= this.bytes);
  }

  /** Takes a sent frame off. */
  spend(events: number, bytes: number): void {
    this.events -= events;
    this.bytes = Math.max(0, this.bytes - bytes);
  }

  /** Resolves at the next `add` or `wake`. */
  change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Lets everybody who waits look again. */
  wake(): void {
    for (const resume of this.waiting.splice(0)) resume();
  }
}
