//! The gRPC source: `IngressService.Publish`, acknowledged once the events are safe.

mod outbox;
mod publisher;
mod service;
mod source;

pub(crate) use source::GrpcSourceNode;
