//! The limits of the protocol, in one place. Each is checked before anything is allocated.

/// Bytes of one payload.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// Bytes of one batch.
pub const MAX_BATCH_BYTES: usize = 32 << 20;
/// Events of one batch.
pub const MAX_BATCH_EVENTS: usize = 65_536;
/// Bytes of one gRPC message.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Bytes of one attribute value.
pub const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;
/// Bytes of one ordering key.
pub const MAX_KEY_BYTES: usize = 1 << 10;
/// Extension columns of one batch.
pub const MAX_EXTENSIONS: usize = 64;
/// Bytes of one source checkpoint.
pub const MAX_CHECKPOINT_BYTES: usize = 64 << 10;
/// Characters of a reason.
pub const MAX_REASON_CHARS: usize = 64;
/// Bytes of a failure message.
pub const MAX_MESSAGE_TEXT_BYTES: usize = 4 << 10;
/// Bytes of a W3C tracestate.
pub const MAX_TRACE_STATE_BYTES: usize = 512;
/// Bytes of outputs that are held before a part of an answer is sent.
pub const HELD_OUTPUT_BYTES: usize = 1 << 20;
