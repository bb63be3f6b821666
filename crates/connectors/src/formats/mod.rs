//! Bytes to events and back. Pure: a [`Decoder`] is fed chunks and asked for records; nothing here does I/O.

pub mod cloudevents;
mod csv;
mod decoder;
mod encode;
mod json;
mod lengths;
mod lines;

pub use decoder::{Decoder, FormatError, Record};
pub use encode::{Encoder, Unwritable};
pub(crate) use json::{check as check_json, compact};
