import type { StreamStatus } from "../status.js";

/** One stream as its session sees it; the other end is the transport thread, or a test. */
export interface Wire {
  /** Number of the stream in the call table. */
  readonly id: number;
  /** Sends a message; `closesWork`: it is the last result of a work. */
  send(message: Uint8Array, closesWork?: boolean): void;
  /** Waits until little enough is unsent; undefined: go on. */
  room(): Promise<void> | undefined;
  /** Ends the stream; without a status: OK. Later sends are ignored. */
  end(status?: StreamStatus): void;
}

/** What a session is told. */
export interface Session {
  /** A message has come. */
  receive(message: Buffer): void;
  /** The coordinator will send no more. */
  halfClosed(): void;
  /** The stream broke or was cancelled; nothing can be sent any more. */
  gone(): void;
  /** The node drains: finish what is in hand, then end. */
  drain(): void;
}
