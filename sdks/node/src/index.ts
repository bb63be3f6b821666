/**
 * Write a Meshloom node: a function over events, served over gRPC.
 *
 * @packageDocumentation
 */
export { node, Node, NodeBuilder, serve } from "./node.js";
export type {
  BatchHandler,
  ConfigOf,
  Handler,
  InputOf,
  Many,
  NodeOptions,
  Result,
  Schema,
  SourceHandler,
} from "./node.js";
export type { MaybePromise } from "./util.js";
export type { BatchContext, Context, NodeContext, SourceContext } from "./context.js";
export type { NodeLimits, SetupContext, SourceOptions } from "./definition.js";
export type { ServeOptions } from "./serving/serve.js";
export type { ReplicaInfo } from "./process/scope.js";
export type { ExtensionInput, ExtensionValue } from "./columns/extensions.js";
export { Timestamp, Uri, UriReference } from "./columns/extension-types.js";
export type { LogFields, Logger } from "./log.js";
export { Batch } from "./columns/batch.js";
export { MeshEvent } from "./event.js";
export { Emitter } from "./process/emitter.js";
export type { Inputs } from "./process/emitter.js";
export { drop, Output, output } from "./output.js";
export type { OutputOptions, SourceOutputOptions } from "./output.js";
export { ConfigError, Reject, Retry, ServeError } from "./errors.js";
export type { ConfigViolation, RetryOptions } from "./errors.js";
export { Publisher } from "./publisher/publisher.js";
export type { Acknowledgement, PublisherOptions } from "./publisher/publisher.js";
export { PublishError, UnacknowledgedError } from "./publisher/errors.js";
export { durationMs, sizeBytes } from "./units.js";
export type { AnyConfig } from "./config.js";
export { isMain } from "./main.js";
export { Reasons } from "./reasons.js";
export { VERSION } from "./version.js";
