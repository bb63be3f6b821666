import { createHash } from "node:crypto";
import { MAX_CHECKPOINT_BYTES } from "../columns/limits.js";

/** A source gave the checkpoint that it gave before. */
export class CheckpointRepeated extends Error {
  override readonly name = "CheckpointRepeated";
}

/** Bytes of a checkpoint that ids repeat as they are. */
const LONGEST_IN_ID = 256;

/**
 * Where a source stands: its last checkpoint, and ids `C#n` that are the same after a replay: C the last checkpoint
 * before the event, n counted from there, from 1.
 */
export class Position {
  private last: string | undefined;
  private prefix = "";
  private since = 0;

  /** `resume`: the checkpoint handed back by the coordinator. */
  constructor(resume: Uint8Array | undefined) {
    if (resume !== undefined) this.set(Buffer.from(resume).toString("utf8"));
  }

  /** The id of the next event, if it sets none itself. */
  nextId(): string {
    return `${this.prefix}#${++this.since}`;
  }

  /** Notes the checkpoint that an event carries: any JSON value. Throws `CheckpointRepeated`, TypeError or RangeError. */
  advance(checkpoint: unknown): void {
    const text = JSON.stringify(checkpoint) as string | undefined;
    if (text === undefined) throw new TypeError(`a checkpoint must be a JSON value, not a ${typeof checkpoint}`);
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_CHECKPOINT_BYTES) {
      throw new RangeError(`the checkpoint has ${bytes} bytes of JSON, the limit is ${MAX_CHECKPOINT_BYTES}`);
    }
    if (text === this.last) {
      throw new CheckpointRepeated(
        `the checkpoint ${text.slice(0, 80)} came twice in a row; of several events that belong to one, only the last carries it`,
      );
    }
    this.set(text);
  }

  private set(checkpoint: string): void {
    this.last = checkpoint;
    // A long checkpoint would be repeated in every id; its digest is as stable.
    const long = Buffer.byteLength(checkpoint) > LONGEST_IN_ID;
    this.prefix = long ? createHash("sha256").update(checkpoint).digest("hex") : checkpoint;
    this.since = 0;
  }

  /** The last checkpoint, as it goes on the wire. */
  get checkpoint(): Buffer | undefined {
    return this.last === undefined ? undefined : Buffer.from(this.last);
  }
}
