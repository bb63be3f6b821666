/** Names of attributes that the SDK sets; OpenTelemetry messaging conventions where there is one. */
export const Attr = {
  SYSTEM: "messaging.system",
  OPERATION_NAME: "messaging.operation.name",
  OPERATION_TYPE: "messaging.operation.type",
  DESTINATION: "messaging.destination.name",
  MESSAGE_ID: "messaging.message.id",
  BATCH_COUNT: "messaging.batch.message_count",
  CLIENT_ID: "messaging.client.id",
  ERROR_TYPE: "error.type",
  EVENT_ID: "cloudevents.event_id",
  EVENT_SOURCE: "cloudevents.event_source",
  EVENT_TYPE: "cloudevents.event_type",
  PIPELINE: "meshloom.pipeline",
  ATTEMPT: "meshloom.attempt",
  VERDICT: "meshloom.verdict",
} as const;

/** Values of `meshloom.verdict`. */
export type Verdict = "delivered" | "consumed" | "retry" | "reject";

/** Value of `messaging.system`. */
export const SYSTEM = "meshloom";
/** Name of the SDK's instrumentation scope. */
export const SCOPE = "meshloom";
/** Most links of a batch handler's span. */
export const MAX_LINKS = 128;
