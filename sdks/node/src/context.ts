import type { Tracer } from "@opentelemetry/api";
import type { Logger } from "./log.js";
import type { MeshEvent } from "./event.js";
import type { ReplicaInfo } from "./process/scope.js";

/** What every call knows of where it runs. */
export interface NodeContext<Config, State> {
  /** The node's validated config. */
  readonly config: Config;
  /** What set-up returned. */
  readonly state: State;
  /** Name of the pipeline. */
  readonly pipeline: string;
  /** Name of the node in the pipeline file. */
  readonly node: string;
  /** Which replica this is. */
  readonly replica: ReplicaInfo;
  /** Logger on standard error that stamps node, uid and trace. */
  readonly log: Logger;
  /** OpenTelemetry tracer; its spans nest in the event's trace. */
  readonly tracer: Tracer;
  /** Aborts when the call should stop: its time is up, the work was taken back, or the node was told to stop. */
  readonly signal: AbortSignal;
}

/** What a handler of batches is given beside the batch. */
export interface BatchContext<Config, State> extends NodeContext<Config, State> {
  /** When the call should have ended; undefined: no limit. */
  readonly deadline: Date | undefined;
}

/** What a handler of single events is given beside the value. */
export interface Context<Config = unknown, State = unknown> extends BatchContext<Config, State> {
  /** The event that the value came with. */
  readonly event: MeshEvent;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
}

/** What a source is given. */
export interface SourceContext<Config, State, Checkpoint = unknown> extends NodeContext<Config, State> {
  /** Where to go on: the last checkpoint that is known to have been taken; undefined: from the start. */
  readonly checkpoint: Checkpoint | undefined;
}
