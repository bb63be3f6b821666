/** Limits of protocol meshloom.v1. Checked on both sides, before anything is allocated from the figures concerned. */

/** Largest payload of one event, bytes. */
export const MAX_EVENT_BYTES = 16 * 1024 * 1024;
/** Largest batch, bytes over all columns. */
export const MAX_BATCH_BYTES = 32 * 1024 * 1024;
/** Most events in a batch, and most outputs in a result. */
export const MAX_BATCH_EVENTS = 65_536;
/** Largest gRPC message, bytes. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Largest attribute value, bytes of UTF-8. */
export const MAX_ATTRIBUTE_BYTES = 64 * 1024;
/** Largest ordering key, bytes of UTF-8. */
export const MAX_KEY_BYTES = 1024;
/** Most extension columns. */
export const MAX_EXTENSIONS = 64;
/** Longest extension name, characters. */
export const MAX_EXTENSION_NAME = 64;
/** Largest checkpoint, bytes. */
export const MAX_CHECKPOINT_BYTES = 64 * 1024;
/** Longest failure message, bytes of UTF-8. */
export const MAX_FAILURE_MESSAGE_BYTES = 4 * 1024;
/** Longest W3C tracestate, bytes. */
export const MAX_TRACE_STATE_BYTES = 512;
/** Most calls in one Progress message. */
export const MAX_PROGRESS_CALLS = 256;

/** Index that means "absent" in a Batch and "as the parent's" in Outputs. */
export const NONE = 0xffff_ffff;
/** Parent or index that means the whole batch. */
export const WHOLE = 0xffff_ffff;
/** Time value that means "absent". */
export const TIME_ABSENT = -(2n ** 63n);
/** Time value that means "as the parent's" in Outputs. */
export const TIME_AS_PARENT = TIME_ABSENT + 1n;
