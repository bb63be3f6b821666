//! Names of attributes and operations, as OpenTelemetry's messaging conventions have them.

pub(crate) const SYSTEM: &str = "messaging.system";
pub(crate) const SYSTEM_VALUE: &str = "meshloom";
pub(crate) const OPERATION_NAME: &str = "messaging.operation.name";
pub(crate) const OPERATION_TYPE: &str = "messaging.operation.type";
pub(crate) const DESTINATION: &str = "messaging.destination.name";
pub(crate) const MESSAGE_ID: &str = "messaging.message.id";
pub(crate) const BATCH_COUNT: &str = "messaging.batch.message_count";
pub(crate) const CLIENT_ID: &str = "messaging.client.id";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const EVENT_ID: &str = "cloudevents.event_id";
pub(crate) const EVENT_SOURCE: &str = "cloudevents.event_source";
pub(crate) const EVENT_TYPE: &str = "cloudevents.event_type";
pub(crate) const PIPELINE: &str = "meshloom.pipeline";
pub(crate) const ATTEMPT: &str = "meshloom.attempt";
pub(crate) const VERDICT: &str = "meshloom.verdict";

pub(crate) const PROCESS: &str = "process";
pub(crate) const SEND: &str = "send";

/// Links of the span of a batch call.
pub(crate) const MAX_LINKS: usize = 128;
