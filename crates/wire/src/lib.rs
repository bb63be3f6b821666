//! The boundary between wire and core: frames are validated and translated here, once, and nowhere else.
//!
//! - [`batch`], [`process`], [`produce`], [`ingress`]: messages to core's forms and back. Decoding checks every limit of
//!   the protocol; what it returns needs no further check.
//! - [`Meter`] and [`NodeClient`]: a client whose every received message is charged to a budget until its last slice
//!   is gone.
//! - [`transport`]: the numbers of every connection.
//! - [`session`]: what is agreed on when a stream opens.
//! - [`serve`]: in-process nodes as an ordinary node server.

pub mod batch;
mod client;
mod codec;
mod duration;
mod error;
pub mod ingress;
mod meter;
pub mod process;
pub mod produce;
pub mod serve;
pub mod session;
pub mod transport;

pub use client::{NodeClient, PROCESS_PATH, PRODUCE_PATH};
pub use codec::ChargedCodec;
pub use error::WireError;
pub use meter::{Meter, Unmetered};
