//! Names of spans, attributes and span events; OpenTelemetry's messaging conventions where there is one.

/// `messaging.system`; its value is [`SYSTEM`].
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `send`, `receive` or `process`.
pub const OPERATION_NAME: &str = "messaging.operation.name";
/// `send`, `receive` or `process`, as the conventions class it.
pub const OPERATION_TYPE: &str = "messaging.operation.type";
/// The node.
pub const DESTINATION: &str = "messaging.destination.name";
/// The event's uid: 32 hexadecimal digits. The store finds traces by it.
pub const MESSAGE_ID: &str = "messaging.message.id";
/// Events of the batch that the event travelled in.
pub const BATCH_COUNT: &str = "messaging.batch.message_count";
/// The replica.
pub const CLIENT_ID: &str = "messaging.client.id";
/// Why a span failed: a reason, or the type of an exception.
pub const ERROR_TYPE: &str = "error.type";
/// CloudEvents `id`.
pub const EVENT_ID: &str = "cloudevents.event_id";
/// CloudEvents `source`.
pub const EVENT_SOURCE: &str = "cloudevents.event_source";
/// CloudEvents `type`.
pub const EVENT_TYPE: &str = "cloudevents.event_type";
/// The pipeline.
pub const PIPELINE: &str = "meshloom.pipeline";
/// Which attempt, from 1.
pub const ATTEMPT: &str = "meshloom.attempt";
/// One of [`verdict`].
pub const VERDICT: &str = "meshloom.verdict";
/// Time from the queue to the replica, milliseconds.
pub const QUEUE_MS: &str = "meshloom.queue_ms";

/// Resource attribute: `PIPELINE/NODE`.
pub const SERVICE_NAME: &str = "service.name";
/// Resource attribute: the replica, or [`COORDINATOR`].
pub const SERVICE_INSTANCE: &str = "service.instance.id";

/// The value of [`MESSAGING_SYSTEM`].
pub const SYSTEM: &str = "meshloom";
/// The instance of spans that the coordinator makes.
pub const COORDINATOR: &str = "coordinator";
/// The instrumentation scope of spans that the coordinator makes.
pub const SCOPE: &str = "meshloom";

/// Values of [`OPERATION_NAME`]; a span is named `{operation} {node}`.
pub mod operation {
    /// At a source.
    pub const SEND: &str = "send";
    /// A hop, from the queue to the verdict.
    pub const RECEIVE: &str = "receive";
    /// In the node.
    pub const PROCESS: &str = "process";
}

/// Span events of a hop.
pub mod event {
    /// The event entered the node's queue.
    pub const ENQUEUE: &str = "enqueue";
    /// It was sent to a replica.
    pub const DISPATCH: &str = "dispatch";
    /// Its verdict arrived.
    pub const VERDICT: &str = "verdict";
}

/// Values of [`VERDICT`].
pub mod verdict {
    /// The node answered it with outputs, or a sink took it.
    pub const DELIVERED: &str = "delivered";
    /// The node ended it on purpose.
    pub const CONSUMED: &str = "consumed";
    /// It will be tried again.
    pub const RETRY: &str = "retry";
    /// It is dead-lettered.
    pub const REJECTED: &str = "rejected";
}

/// The name of a span.
pub fn span_name(operation: &str, node: &str) -> String {
    format!("{operation} {node}")
}

/// The service that spans about a node belong to.
pub fn service_name(pipeline: &str, node: &str) -> String {
    format!("{pipeline}/{node}")
}
