//! What `make bench` measures with: the codec and the frames of a stream that knows nothing of Meshloom.
//!
//! The reference of every row is what a capable engineer writes by hand: one gRPC stream over a Unix socket that
//! carries the same frames, with the flow-control windows and buffers that the coordinator uses, and nothing else.

pub mod codec;
pub mod frames;

/// Path of the method that the bare servers answer: that of `NodeService`, so that they can be generated stubs.
pub const PROCESS_PATH: &str = "/meshloom.v1.NodeService/Process";

/// Flow-control window of stream and connection, bytes.
pub const WINDOW_BYTES: u32 = 8 << 20;

/// Largest HTTP/2 frame, bytes.
pub const FRAME_BYTES: u32 = 1 << 20;

/// Largest message, bytes.
pub const MESSAGE_BYTES: usize = 64 << 20;
