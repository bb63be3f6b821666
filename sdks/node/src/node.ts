import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Batch } from "./columns/batch.js";
import { MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from "./columns/limits.js";
import type { AnyConfig } from "./config.js";
import type { BatchContext, Context, SourceContext } from "./context.js";
import type { Definition, NodeLimits, Role, SetupContext, SourceOptions } from "./definition.js";
import type { MeshEvent } from "./event.js";
import type { drop } from "./output.js";
import type { Emitter } from "./process/emitter.js";
import { serveDefinitions, type ServeOptions } from "./serving/serve.js";
import type { MaybePromise } from "./util.js";

/** A Standard Schema, or none. */
export type Schema = StandardSchemaV1 | undefined;
/** The config that a handler is given. */
export type ConfigOf<S extends Schema> = S extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<S> : AnyConfig;
/** What a handler of single events is given. */
export type InputOf<S extends Schema> = S extends StandardSchemaV1 ? StandardSchemaV1.InferOutput<S> : MeshEvent;

/** Settings of a node. */
export interface NodeOptions<ConfigSchema extends Schema, InputSchema extends Schema, State> {
  /** Any Standard Schema (zod, valibot, arktype, ...) of the config. Without it the config is any JSON object. */
  config?: ConfigSchema;
  /** Any Standard Schema of the JSON payload. Without it handlers are given the event. */
  input?: InputSchema;
  /**
   * Runs once per process and config, before the node is ready. What it returns is `state`; its Symbol.asyncDispose or
   * Symbol.dispose is called after drain. Throw `ConfigError` to refuse the config for good.
   */
  setup?: (context: SetupContext<ConfigOf<ConfigSchema>>) => MaybePromise<State>;
  /** Routes that outputs may take. */
  routes?: readonly string[];
  /** Handler calls at one time; default 16, for batch handlers 4. The pipeline file may say otherwise. */
  concurrency?: number;
  /** What a coordinator may have in hand here. */
  limits?: NodeLimits;
  /** One line for a person. */
  description?: string;
}

/** What a handler may return for one output: any JSON value, bytes, or `output(...)`. */
export type Result = string | number | boolean | object | typeof drop;

/** A handler that takes single events. */
export type Handler<Input, Config, State, R> = (input: Input, context: Context<Config, State>) => R;
/** What a flatMap handler may return. */
export type Many = MaybePromise<Iterable<unknown> | AsyncIterable<unknown> | typeof drop>;
/** A handler of whole batches. */
export type BatchHandler<Config, State> = (
  batch: Batch,
  out: Emitter,
  context: BatchContext<Config, State>,
) => MaybePromise<void>;
/** A source: yields values or `output(value, { checkpoint })`. */
export type SourceHandler<Config, State, Checkpoint> = (
  context: SourceContext<Config, State, Checkpoint>,
) => Iterable<unknown> | AsyncIterable<unknown>;

const NODE = Symbol.for("meshloom.Node");

/** A node that knows what it does. */
export class Node<F = unknown> {
  /** Tells its kind, also between copies of this package. */
  readonly [NODE] = true;

  /** @internal */
  constructor(
    /** The handler, as it was given: a plain function. */
    readonly handler: F,
    /** @internal */
    readonly definition: Definition,
  ) {}

  /** Name of the handler. */
  get name(): string {
    return this.definition.name;
  }

  /** Serves this node alone. Resolves when it has drained; without `signal` the process exits then. */
  serve(options: ServeOptions = {}): Promise<void> {
    return serveDefinitions([this.definition], options);
  }
}

/** Options whose schemas live on in the builder's types. */
type AnyOptions = Omit<NodeOptions<Schema, Schema, unknown>, "setup"> & { setup?: Definition["setup"] };

/** A node that waits to be told what it does. */
export class NodeBuilder<Config, Input, State> {
  /** @internal */
  constructor(
    private readonly name: string,
    private readonly options: AnyOptions,
  ) {}

  /** One output for each input. Return a value or `output(...)`, or `drop`; throw `Reject` or `Retry`. */
  map<R extends MaybePromise<Result>>(handler: Handler<Input, Config, State, R>): Node<typeof handler> {
    return this.make("map", handler);
  }

  /** Each input passes unchanged (true) or ends here (false). */
  filter<R extends MaybePromise<boolean>>(handler: Handler<Input, Config, State, R>): Node<typeof handler> {
    return this.make("filter", handler);
  }

  /** Any number of outputs for each input: return an array, an iterator, or be a generator or async generator. */
  flatMap<R extends Many>(handler: Handler<Input, Config, State, R>): Node<typeof handler> {
    return this.make("flatMap", handler);
  }

  /** Delivers each input somewhere. To return is to say that it is delivered. */
  sink<R>(handler: Handler<Input, Config, State, R>): Node<typeof handler> {
    return this.make("sink", handler);
  }

  /** Whole batches, in columns; every input is answered on `out`. */
  batch(handler: BatchHandler<Config, State>): Node<typeof handler> {
    return this.make("batch", handler);
  }

  /** Produces events: a generator or async generator. */
  source<Checkpoint = unknown>(
    handler: SourceHandler<Config, State, Checkpoint>,
    options: SourceOptions<Checkpoint, Config, State> = {},
  ): Node<typeof handler> {
    // A source is only ever handed what its own schema and set-up have made.
    return this.make("source", handler, options as unknown as SourceOptions);
  }

  private make<F extends Definition["handler"]>(role: Role, handler: F, source: SourceOptions = {}): Node<F> {
    if (typeof handler !== "function") throw new TypeError(`node ${this.name}: .${role} needs a function`);
    const { options } = this;
    const { replays = true, partitioned = false, ...rest } = source;
    return new Node(handler, {
      name: this.name,
      role,
      handler,
      config: options.config,
      input: options.input,
      setup: options.setup,
      routes: new Set(options.routes),
      concurrency: options.concurrency ?? 0,
      limits: {
        maxInFlightWorks: options.limits?.maxInFlightWorks ?? DEFAULT_IN_FLIGHT,
        maxBatchEvents: options.limits?.maxBatchEvents ?? MAX_BATCH_EVENTS,
        maxBatchBytes: options.limits?.maxBatchBytes ?? MAX_BATCH_BYTES,
      },
      description: options.description ?? "",
      source: { replays, partitioned, ...rest },
    });
  }
}

/** Works in hand at one time: enough to hide the way to the coordinator and back. */
const DEFAULT_IN_FLIGHT = 8;
const NAME = /^[a-z][a-z0-9_-]*$/;

/** Starts a node: `node("hot").map((event) => ...)`. The name is what a pipeline file calls the handler. */
export function node<
  ConfigSchema extends StandardSchemaV1 | undefined = undefined,
  InputSchema extends StandardSchemaV1 | undefined = undefined,
  State = undefined,
>(
  name: string,
  options: NodeOptions<ConfigSchema, InputSchema, State> = {},
): NodeBuilder<ConfigOf<ConfigSchema>, InputOf<InputSchema>, State> {
  if (!NAME.test(name)) throw new TypeError(`node name "${name}" must look like [a-z][a-z0-9_-]*`);
  const { concurrency, limits, routes } = options;
  checkWhole(`${name}: concurrency`, concurrency, 10_000);
  checkWhole(`${name}: limits.maxInFlightWorks`, limits?.maxInFlightWorks, 10_000);
  checkWhole(`${name}: limits.maxBatchEvents`, limits?.maxBatchEvents, MAX_BATCH_EVENTS);
  checkWhole(`${name}: limits.maxBatchBytes`, limits?.maxBatchBytes, MAX_BATCH_BYTES);
  const reserved = routes?.find((route) => route === "rejected" || route === "unmatched");
  if (reserved !== undefined) throw new TypeError(`${name}: the route "${reserved}" is reserved`);
  return new NodeBuilder(name, options);
}

function checkWhole(what: string, value: number | undefined, max: number): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= max)) {
    throw new RangeError(`${what} must be a whole number from 1 to ${max}, not ${value}`);
  }
}

/** Serves several nodes in one process: `serve(a, b)`, `serve(a, b, { listen })`. Resolves as `Node.serve` does. */
export function serve(...args: readonly (Node | ServeOptions)[]): Promise<void> {
  const definitions: Definition[] = [];
  let options: ServeOptions = {};
  for (const arg of args) {
    if (NODE in arg) definitions.push(arg.definition);
    else options = { ...options, ...arg };
  }
  return serveDefinitions(definitions, options);
}
