//! Spans out and in, the trace store, the waterfall, metrics, logs.
//!
//! ```text
//! coordinator --record--> [bounded queue] --> TraceStore --> waterfall (meshloom trace)
//!                                        \--> [bounded queue] --> exporter --> collector or Jaeger
//! nodes --OTLP/gRPC--> receiver ------------> both
//! ```
//!
//! What never happens here: a span that makes the pipeline wait. Every queue is bounded, what does not fit is dropped
//! and counted ([`Stats`]), and nothing on the way of an event awaits a collector.
//!
//! Spans of the coordinator about node X belong to the service `PIPELINE/X`, like the node's own, with the instance
//! `coordinator`: Jaeger then draws the pipeline itself as its service graph, a search for a node finds every hop through
//! it even if the node exports nothing, and the instance still tells the two sides apart.

pub mod archive;
pub mod context;
pub mod export;
pub mod ids;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod node;
mod proto;
mod queue;
pub mod receiver;
pub mod sampler;
pub mod span;
pub mod store;
pub mod traces;
pub mod waterfall;

pub use self::{
    context::SpanRef,
    ids::{SpanId, TraceId},
    sampler::Sampler,
    span::{Event, Kind, Link, Service, Span, Status, Value},
    store::{Trace, TraceStore},
    traces::{Stats, Traces},
    waterfall::waterfall,
};
