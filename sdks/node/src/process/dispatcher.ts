import type { Definition } from "../definition.js";
import type { CallTable } from "../transport/calls.js";
import type { Scope } from "./scope.js";
import type { WorkState } from "./work.js";

/** What a dispatcher needs of the stream it serves. */
export interface Stream {
  readonly definition: Definition;
  readonly scope: Scope;
  readonly table: CallTable;
  /** Number of the stream in the call table. */
  readonly id: number;
  /** Handler calls at one time. */
  readonly concurrency: number;
  /** The key of an input under the ordering asked for; undefined: none. */
  readonly keyOf: ((work: WorkState, index: number) => string | undefined) | undefined;
  /** Waits until the coordinator has read enough; undefined: it has. */
  room(): Promise<void> | undefined;
  /** A call has ended on its own time: others may start, its outputs may travel. */
  callEnded(work: WorkState): void;
}

/** Turns works into handler calls. */
export interface Dispatcher {
  /** Takes a work in. */
  add(work: WorkState): void;
  /** Starts one call, or several while `until` on the table's clock has not come; false when none can start now. */
  startNext(until: number): boolean;
  /** Calls whose handlers have not returned. */
  readonly running: number;
}
