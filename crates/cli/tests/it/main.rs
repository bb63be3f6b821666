//! The binary as a user meets it: what it prints where, and its exit codes.
#![allow(clippy::unwrap_used, reason = "a failed helper of a test is a failed test")]

mod conform;
mod documents;
mod restart;
mod runs;
mod sidecar;
mod support;
