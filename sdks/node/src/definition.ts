import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { NodeContext } from "./context.js";
import { HandlerRole } from "./gen/meshloom/v1/node.js";
import type { Logger } from "./log.js";

/** What set-up is given. */
export interface SetupContext<Config> {
  /** The node's validated config. */
  readonly config: Config;
  /** Logger on standard error. */
  readonly log: Logger;
}

/** Limits that a handler announces; a coordinator keeps to them. */
export interface NodeLimits {
  /** Works in hand at one time; default 8. */
  maxInFlightWorks?: number;
  /** Events per work, at most 65,536; default that. */
  maxBatchEvents?: number;
  /** Bytes per work, at most 32 MiB; default that. */
  maxBatchBytes?: number;
}

/** How a source behaves, beside its generator. */
export interface SourceOptions<Checkpoint = unknown, Config = unknown, State = unknown> {
  /** Any Standard Schema of the checkpoints. A source that is handed back another one is refused. */
  checkpoint?: StandardSchemaV1<unknown, Checkpoint>;
  /** Whether it can go on from a checkpoint; false: the coordinator journals its events. Default true. */
  replays?: boolean;
  /** Whether several replicas share the work. Default false. */
  partitioned?: boolean;
  /**
   * Called with each checkpoint up to which everything has settled or, if the source does not replay, is durable: the
   * place to commit upstream. May be async: the next call waits for it. Errors are logged.
   */
  settled?: (checkpoint: Checkpoint, context: NodeContext<Config, State>) => unknown;
}

/** Which handlers there are. */
export type Role = "map" | "filter" | "flatMap" | "sink" | "batch" | "source";

/** A node as the runtime sees it: everything the builder collected, without types. */
export interface Definition {
  readonly name: string;
  readonly role: Role;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the builder's types have checked the call
  readonly handler: (...args: any[]) => unknown;
  readonly config: StandardSchemaV1 | undefined;
  readonly input: StandardSchemaV1 | undefined;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
  readonly setup: ((context: SetupContext<any>) => unknown) | undefined;
  readonly routes: ReadonlySet<string>;
  readonly concurrency: number;
  readonly limits: Required<NodeLimits>;
  readonly description: string;
  readonly source: Required<Pick<SourceOptions, "replays" | "partitioned">> &
    Pick<SourceOptions, "checkpoint" | "settled">;
}

/** The role's name on the wire. */
export const WIRE_ROLE: Record<Role, HandlerRole> = {
  map: HandlerRole.HANDLER_ROLE_MAP,
  filter: HandlerRole.HANDLER_ROLE_FILTER,
  flatMap: HandlerRole.HANDLER_ROLE_FLAT_MAP,
  sink: HandlerRole.HANDLER_ROLE_SINK,
  batch: HandlerRole.HANDLER_ROLE_BATCH,
  source: HandlerRole.HANDLER_ROLE_SOURCE,
};
