//! Meshloom's pure core: no I/O, no clock, no async runtime.
//!
//! - [`batch`] and [`outputs`]: events in columns, and answers that name their inputs by index.
//! - [`ids`] and [`limits`]: identity of events, and every limit of the protocol.
//! - [`origin`]: settlement by counting.
//! - [`graph`]: the nodes of a pipeline and the edges between them.
//! - [`machine`]: the state machine of one node, driven with [`exchange`] types and [`moment`]s.

pub mod batch;
pub mod exchange;
pub mod graph;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod moment;
pub mod origin;
pub mod outputs;
