/** Codes that the SDK itself puts into failures. Each is explained in the README under "Reasons". */
export const Reasons = {
  /** A map handler returned nothing. */
  NO_RESULT: "NO_RESULT",
  /** A filter handler returned something other than true or false. */
  NOT_BOOL: "NOT_BOOL",
  /** A flatMap handler returned something that cannot be iterated. */
  NOT_ITERABLE: "NOT_ITERABLE",
  /** A batch handler left an input unmentioned. */
  UNACCOUNTED: "UNACCOUNTED",
  /** The payload is not JSON, or does not fit the input schema. */
  PAYLOAD_MISMATCH: "PAYLOAD_MISMATCH",
  /** An output cannot be encoded. */
  OUTPUT_INVALID: "OUTPUT_INVALID",
  /** An output takes a route that the node did not declare. */
  ROUTE_UNDECLARED: "ROUTE_UNDECLARED",
  /** A payload is larger than 16 MiB. */
  EVENT_TOO_LARGE: "EVENT_TOO_LARGE",
  /** An attribute is larger than its limit. */
  ATTRIBUTE_TOO_LARGE: "ATTRIBUTE_TOO_LARGE",
  /** More than 64 extensions. */
  TOO_MANY_EXTENSIONS: "TOO_MANY_EXTENSIONS",
  /** A batch handler named an input twice, or one that is not there. */
  RESULT_INDEX_REPEATED: "RESULT_INDEX_REPEATED",
  /** `Reject` without a reason of its own. */
  REJECTED: "REJECTED",
  /** `Retry` was thrown. */
  RETRY: "RETRY",
  /** Any other exception. */
  HANDLER_ERROR: "HANDLER_ERROR",
  /** The call took longer than the node's `timeout`. */
  TIMEOUT: "TIMEOUT",
  /** The work was taken back, or the node drains. */
  CANCELLED: "CANCELLED",
  /** An earlier event of the same key has to be retried first. */
  KEY_HELD: "KEY_HELD",
  /** The columns of a work contradict each other or the format. */
  BATCH_MALFORMED: "BATCH_MALFORMED",
  /** The work is larger than the protocol or the limits of this node allow. */
  BATCH_TOO_LARGE: "BATCH_TOO_LARGE",
  /** More works are in hand than the limits of this node allow. */
  LIMITS_EXCEEDED: "LIMITS_EXCEEDED",
  /** Reason in ErrorInfo: no common protocol version. */
  PROTOCOL_UNSUPPORTED: "PROTOCOL_UNSUPPORTED",
  /** Reason in ErrorInfo: the process serves no such handler. */
  HANDLER_UNKNOWN: "HANDLER_UNKNOWN",
  /** Reason in ErrorInfo: the handler is served by the other service. */
  HANDLER_ROLE_MISMATCH: "HANDLER_ROLE_MISMATCH",
  /** Reason in ErrorInfo: the handler's set-up failed. */
  SETUP_FAILED: "SETUP_FAILED",
  /** Reason in ErrorInfo: the stream broke the protocol. */
  PROTOCOL_VIOLATION: "PROTOCOL_VIOLATION",
  /** Reason in ErrorInfo: the source's generator threw. */
  SOURCE_FAILED: "SOURCE_FAILED",
  /** Reason in ErrorInfo: a source gave the same checkpoint twice in a row. */
  CHECKPOINT_REPEATED: "CHECKPOINT_REPEATED",
} as const;
