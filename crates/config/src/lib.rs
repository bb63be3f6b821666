//! The pipeline file: parsed with the position of everything, diagnosed as a whole, compiled to typed specs.
//!
//! [`load`] reads a file and answers a [`Pipeline`], or [`Diagnostics`] with everything that is wrong.

pub mod budget;
pub mod connector;
pub mod defaults;
pub mod diagnostic;
pub mod exec;
pub mod expression;
mod load;
mod read;
pub mod render;
mod schema;
pub mod spec;
mod suggest;
mod yaml;

pub use connector::ConnectorSpec;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use exec::ExecSpec;
pub use expression::{EvaluationError, EventView, Expression, Template};
pub use load::{Environment, MAX_FILE, load, locate, parse};
pub use schema::json_schema;
pub use spec::{Command, EdgeSpec, NodeKind, NodeSpec, Pipeline, Rate, Sampling, Upstream};
pub use suggest::nearest as suggest;
