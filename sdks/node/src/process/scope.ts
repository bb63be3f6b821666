import { trace, type Tracer } from "@opentelemetry/api";
import type { Replica } from "../gen/meshloom/v1/session.js";
import { createLogger, type LogFields, type Logger } from "../log.js";

/** Which replica of a node a stream is. */
export interface ReplicaInfo {
  /** 0 to `of` - 1. */
  readonly index: number;
  /** Number of replicas. */
  readonly of: number;
  /** NODE/INDEX. */
  readonly name: string;
}

/** What all calls of one stream share. */
export class Scope<Config = unknown, State = unknown> {
  readonly replica: ReplicaInfo;
  readonly tracer: Tracer;

  constructor(
    readonly pipeline: string,
    readonly node: string,
    replica: Replica | undefined,
    readonly config: Config,
    readonly state: State,
  ) {
    const { index, of } = replica ?? { index: 0, of: 1 };
    this.replica = { index, of: Math.max(of, 1), name: `${node}/${index}` };
    this.tracer = trace.getTracer(node);
  }

  /** A logger stamped with the node and `fields`. */
  logger(fields: LogFields = {}): Logger {
    return createLogger({ node: this.replica.name, ...fields });
  }
}
