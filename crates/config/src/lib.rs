//! The pipeline file: parsed with the position of everything, diagnosed as a whole, compiled to typed specs.

pub mod connector;
pub mod defaults;
pub mod exec;
pub mod expression;
pub mod spec;
mod suggest;

pub use connector::ConnectorSpec;
pub use exec::ExecSpec;
pub use expression::{EvaluationError, EventView, Expression, Template};
pub use spec::{Command, EdgeSpec, NodeKind, NodeSpec, Pipeline, Rate, Sampling, Upstream};
