/**
 * The table of running handler calls, in memory shared by both threads: the main thread writes it around every call,
 * the transport thread reads it for Progress, also while a handler blocks the main thread.
 */
import { Clock } from "./clock.js";

/** Calls beyond this many are not reported; Progress names the 256 oldest only. */
const SLOTS = 2048;
/** The slot of the call that has the main thread now; the others are of calls that wait for something. */
const CURRENT = 0;
/** Bytes of memory that a table needs. */
export const CALL_TABLE_BYTES = SLOTS * (8 + 8 + 4 + 4 + 4) + 4;

/** A running call as the transport thread sees it. */
export interface RunningCall {
  readonly sequence: bigint;
  readonly index: number;
  /** When it began, milliseconds on the writing thread's `performance.now()`. */
  readonly start: number;
}

/** A view on the shared table; each thread has one. */
export class CallTable {
  /** The main thread's clock for calls. */
  readonly clock: Clock;
  private readonly sequences: BigUint64Array;
  private readonly starts: Float64Array;
  private readonly indexes: Uint32Array;
  private readonly streams: Uint32Array;
  /** Odd while the slot is in use; changes with every use, so that a reader notices a change under its eyes. */
  private readonly versions: Int32Array;
  private readonly ticks: Int32Array;
  private readonly free: number[] = [];

  /** `ticked`: a transport thread calls `tick` while there is work. */
  constructor(
    readonly memory: SharedArrayBuffer = new SharedArrayBuffer(CALL_TABLE_BYTES),
    ticked = false,
  ) {
    this.sequences = new BigUint64Array(memory, 0, SLOTS);
    this.starts = new Float64Array(memory, SLOTS * 8, SLOTS);
    this.indexes = new Uint32Array(memory, SLOTS * 16, SLOTS);
    this.streams = new Uint32Array(memory, SLOTS * 20, SLOTS);
    this.versions = new Int32Array(memory, SLOTS * 24, SLOTS);
    this.ticks = new Int32Array(memory, SLOTS * 28, 1);
    this.clock = new Clock(ticked ? this.ticks : undefined);
    for (let slot = SLOTS - 1; slot > CURRENT; slot--) this.free.push(slot);
  }

  /** The first of the calls of a work that follow one another on this thread begins. */
  enter(stream: number, sequence: bigint, index: number, start: number): void {
    this.streams[CURRENT] = stream;
    this.sequences[CURRENT] = sequence;
    this.next(index, start);
    Atomics.add(this.versions, CURRENT, 1);
  }

  /** The next of them begins. */
  next(index: number, start: number): void {
    // In this order a reader between the two finds a call younger than it is, never older.
    this.starts[CURRENT] = start;
    Atomics.store(this.indexes, CURRENT, index);
  }

  /** The last of them has ended, or waits and has a slot of its own. */
  leave(): void {
    Atomics.add(this.versions, CURRENT, 1);
  }

  /** Notes a call that goes on while others run; returns its slot, -1 when the table is full. */
  begin(stream: number, sequence: bigint, index: number, start: number): number {
    const slot = this.free.pop() ?? -1;
    if (slot < 0) return slot;
    this.streams[slot] = stream;
    this.sequences[slot] = sequence;
    this.indexes[slot] = index;
    this.starts[slot] = start;
    Atomics.add(this.versions, slot, 1);
    return slot;
  }

  /** Moves the start of a call forward by time that was not the handler's. */
  shift(slot: number, byMs: number): void {
    if (slot >= 0) this.starts[slot]! += byMs;
  }

  /** Forgets a call. */
  end(slot: number): void {
    if (slot < 0) return;
    Atomics.add(this.versions, slot, 1);
    this.free.push(slot);
  }

  /** Lets the main thread's clock move on, by the transport thread. */
  tick(): void {
    Atomics.add(this.ticks, 0, 1);
  }

  /** The running calls of a stream, oldest first, at most `limit`. */
  read(stream: number, limit: number): RunningCall[] {
    const found: RunningCall[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      const version = Atomics.load(this.versions, slot);
      if (version % 2 === 0 || this.streams[slot] !== stream) continue;
      const index = Atomics.load(this.indexes, slot);
      const call = { sequence: this.sequences[slot]!, index, start: this.starts[slot]! };
      const same = Atomics.load(this.versions, slot) === version && Atomics.load(this.indexes, slot) === index;
      if (same) found.push(call);
    }
    return found.sort((a, b) => a.start - b.start).slice(0, limit);
  }
}
