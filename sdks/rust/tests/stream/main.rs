//! A node behind real streams, in one program.

#[path = "../common/mod.rs"]
mod common;
mod handlers;
mod layers;
mod open;
mod protocol;
mod publisher;
mod sources;
mod vectors;
