//! Generated types of the wire contract `meshloom.v1`, and nothing else.
//!
//! The text of the contract is `proto/meshloom/v1`; `make generate` makes this code from it. Byte columns are
//! [`bytes::Bytes`], so that a decoded column is a slice of the received buffer.

/// Messages and services of `meshloom.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    include!("gen/meshloom.v1.rs");
}

/// The encoded `FileDescriptorSet` of the contract, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");
