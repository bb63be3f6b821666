import type { Publication, PublishCredit, Refused } from "../gen/meshloom/v1/ingress.js";
import { Credit } from "../produce/credit.js";
import { Frame, type SourceEvent } from "../produce/frame.js";

/** How long the first event of a batch waits for others. */
const LINGER_MS = 5;
/** A batch goes at once when it has this many events or bytes. */
const FULL_EVENTS = 4096;
const FULL_BYTES = 1024 * 1024;
/** The index that names no event. */
const WHOLE = 0xffffffff;

/** An event that was not acknowledged, and who waits for it. */
export interface Entry {
  readonly event: SourceEvent;
  /** @param error Why the event was not published; undefined: it is durable. */
  close(error?: { reason: string; message: string }): void;
}

/** Events in order: those that wait, and those sent on the present stream. No clock and no I/O. */
export class Queue {
  private waiting: Entry[] = [];
  private waitingBytes = 0;
  private readonly sent = new Map<bigint, Entry[]>();
  private credit = new Credit();
  private sequence = 0n;
  /** When what waits should go although more may come; undefined: nothing waits. */
  private due: number | undefined;

  push(entry: Entry, now: number): void {
    this.waiting.push(entry);
    this.waitingBytes += entry.event.bytes;
    this.due ??= now + LINGER_MS;
  }

  grant({ events, bytes }: PublishCredit): void {
    this.credit.add(events, bytes);
  }

  /** Milliseconds until the next batch may go, 0: now; undefined: when something else has happened. */
  wait(now: number): number | undefined {
    if (this.due === undefined || !this.credit.allows(1, 0)) return undefined;
    const more = !this.credit.allows(this.waiting.length + 1, this.waitingBytes + 1);
    const full = more || this.waiting.length >= FULL_EVENTS || this.waitingBytes >= FULL_BYTES;
    return full ? 0 : Math.max(0, this.due - now);
  }

  /** Takes the next batch that the credit admits; any credit at all admits one event. */
  next(now: number): Publication | undefined {
    if (this.waiting.length === 0 || !this.credit.allows(1, 0)) return undefined;
    const frame = new Frame();
    let taken = 0;
    for (const { event } of this.waiting) {
      const admitted = this.credit.allows(taken + 1, frame.bytes + event.bytes);
      if (taken > 0 && (frame.full || !admitted || !frame.fits(event))) break;
      frame.add(event);
      taken += 1;
    }
    const entries = this.waiting.slice(0, taken);
    this.waiting = this.waiting.slice(taken);
    this.waitingBytes -= frame.bytes;
    this.credit.spend(taken, frame.bytes);
    this.due = this.waiting.length > 0 ? now : undefined; // What is left has waited as long as it must.
    this.sequence += 1n;
    this.sent.set(this.sequence, entries);
    return { sequence: this.sequence, batch: frame.encode() };
  }

  acknowledged(sequence: bigint): void {
    for (const entry of this.take(sequence)) entry.close();
  }

  /** Ends the events that are named; the others go again. */
  refused({ sequence, failures }: Refused, now: number): void {
    const named = new Map(failures.map((failure) => [failure.index, failure]));
    const rest =
      failures.length === 0 ? { reason: "REFUSED", message: "the pipeline refused the publication" } : named.get(WHOLE);
    const again: Entry[] = [];
    this.take(sequence).forEach((entry, row) => {
      const failure = named.get(row) ?? rest;
      if (failure === undefined) again.push(entry);
      else entry.close(failure);
    });
    this.putBack(again, now);
  }

  /** The stream is gone: what was not acknowledged goes again, before what was not sent yet. */
  disconnected(now: number): void {
    const sent = [...this.sent.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, entries]) => entries);
    this.sent.clear();
    this.credit = new Credit();
    this.putBack(sent, now);
  }

  /** Takes out all that is open, in the order of publishing. */
  everything(): Entry[] {
    this.disconnected(0);
    const all = this.waiting;
    this.waiting = [];
    this.waitingBytes = 0;
    this.due = undefined;
    return all;
  }

  private take(sequence: bigint): Entry[] {
    const entries = this.sent.get(sequence) ?? [];
    this.sent.delete(sequence);
    return entries;
  }

  private putBack(entries: readonly Entry[], now: number): void {
    this.waiting = [...entries, ...this.waiting];
    for (const { event } of entries) this.waitingBytes += event.bytes;
    if (this.waiting.length > 0) this.due = now;
  }
}
