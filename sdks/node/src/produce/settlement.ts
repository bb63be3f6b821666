import type { MaybePromise } from "../util.js";

/** What a source is told of its frames: what each event asked to hear, then how far everything may be forgotten. */
export class Settlement {
  private readonly frames = new Map<bigint, readonly Receipt[]>();
  private last: string | undefined;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly hook: ((checkpoint: unknown) => MaybePromise<unknown>) | undefined,
    private readonly onError: (what: string, error: unknown) => void,
  ) {}

  /** Notes what the events of a frame ask to hear. */
  sent(sequence: bigint, receipts: readonly Receipt[]): void {
    if (receipts.length > 0) this.frames.set(sequence, receipts);
  }

  /** A frame has settled. Returns at once; what the user's code does comes one frame after the other. */
  settled(sequence: bigint, checkpoint: Uint8Array | undefined): void {
    const receipts = this.frames.get(sequence) ?? [];
    this.frames.delete(sequence);
    const text = checkpoint === undefined ? undefined : Buffer.from(checkpoint).toString("utf8");
    const passed = text !== undefined && text !== this.last;
    if (passed) this.last = text;
    const hook = passed ? this.hook : undefined;
    if (receipts.length === 0 && hook === undefined) return;
    this.running = this.running.then(async () => {
      await Promise.all(receipts.map((receipt) => this.call("the settled callback of an event", receipt)));
      if (hook !== undefined) await this.call("the settled hook", () => hook(JSON.parse(text!)));
    });
  }

  /** Resolves once all that was told has been heard. */
  async heard(): Promise<void> {
    await this.running;
  }

  private async call(what: string, callback: () => unknown): Promise<void> {
    try {
      await callback();
    } catch (error) {
      this.onError(`${what} failed`, error);
    }
  }
}

/** What an event's own code wants to be called when it has settled. */
export type Receipt = () => MaybePromise<unknown>;
