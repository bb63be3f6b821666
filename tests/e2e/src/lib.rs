//! Harness of the end-to-end tests: builds what they run, runs pipelines with the real `meshloom`, reads its books.
//!
//! A test makes a [`Project`] (a folder with a pipeline file), runs it as a child process, and looks at what a user
//! would look at: the summary, `status`, `dead-letters`, the files that sinks wrote. Conditions are waited for with a
//! deadline; a failing test prints the coordinator's log.

#![allow(clippy::unwrap_used, reason = "a harness of tests fails by panicking")]

pub mod anomaly;
mod books;
mod checkout;
pub mod identity;
mod letters;
pub mod lines;
pub mod metrics;
pub mod processes;
mod project;
mod run;
pub mod toolchain;
pub mod wait;
pub mod web;

pub use self::{
    books::{Books, Edge, Journal, Node},
    checkout::root,
    letters::Letter,
    project::Project,
    run::{Finished, Running},
};
