//! The conformance kit: drives any node and says which rules of `proto/README.md` it keeps.
//!
//! `meshloom conform` is its command. A check has a name, stands on rules by their numbers, and is one function under
//! `checks`; whatever a check looks at, every answer on every stream is held against the rules that hold for all
//! (`client::record`).

mod check;
mod checks;
mod client;
mod columns;
mod context;
mod event;
mod fault;
mod malformed;
mod model;
mod node;
mod outputs;
mod read;
mod report;
pub mod rules;
mod run;
mod spans;
mod vectors;

pub use self::{
    check::{Check, Level, catalogue, choose},
    node::NodeError,
    report::{Finding, Outcome, Report, Sdk},
    run::{Options, Progress, Target, run},
};
