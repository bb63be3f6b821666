import type { StreamStatus } from "../status.js";
import type { Wire } from "../transport/wire.js";

/** A stream that ends in memory. */
export class MemoryWire implements Wire {
  readonly id = 1;
  private readonly messages: Uint8Array[] = [];
  private readonly waiting: (() => void)[] = [];
  private ended: { readonly status: StreamStatus | undefined } | undefined;

  send(message: Uint8Array): void {
    this.messages.push(message);
    this.wake();
  }

  room(): undefined {
    return undefined;
  }

  end(status?: StreamStatus): void {
    this.ended ??= { status };
    this.wake();
  }

  /** The next message; undefined: the stream ended OK. Throws the message of the status otherwise. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.messages.shift();
      if (message !== undefined) return message;
      if (this.ended?.status !== undefined) throw new Error(this.ended.status.message);
      if (this.ended !== undefined) return undefined;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  private wake(): void {
    for (const resume of this.waiting.splice(0)) resume();
  }
}
