//! From a spec to a connector.

use meshloom_config::{ConnectorSpec, ExecSpec};

use crate::{
    OpenContext, OpenError, Opened, exec,
    file::{FileSinkNode, FileSourceNode},
    generate::Generator,
    grpc::GrpcSourceNode,
    http::HttpSourceNode,
    null::Null,
    stdio::{Stdin, Stdout},
    tcp::TcpSourceNode,
    webhook::WebhookNode,
};

/// What to open.
#[derive(Debug, Clone, Copy)]
pub enum Spec<'a> {
    /// A built-in connector.
    Connector(&'a ConnectorSpec),
    /// A program, through the adapter.
    Exec(&'a ExecSpec),
}

impl<'a> From<&'a ConnectorSpec> for Spec<'a> {
    fn from(spec: &'a ConnectorSpec) -> Self {
        Self::Connector(spec)
    }
}

impl<'a> From<&'a ExecSpec> for Spec<'a> {
    fn from(spec: &'a ExecSpec) -> Self {
        Self::Exec(spec)
    }
}

/// Opens a connector or an adapted program. Files, ports and state are checked here, programs are started later.
///
/// # Errors
/// What keeps it from working at all: a missing file, a port that is taken, a checkpoint of something else.
pub fn open<'a>(spec: impl Into<Spec<'a>>, context: &OpenContext) -> Result<Opened, OpenError> {
    let spec = match spec.into() {
        Spec::Connector(spec) => spec,
        Spec::Exec(spec) => return exec::open(spec, context),
    };
    Ok(match spec.clone() {
        ConnectorSpec::FileSource(spec) => Opened::Source(Box::new(FileSourceNode::open(spec, context.clone())?)),
        ConnectorSpec::FileSink(spec) => Opened::Node(Box::new(FileSinkNode::open(spec, context)?)),
        ConnectorSpec::Stdin(spec) => Opened::Source(Box::new(Stdin::open(spec, context))),
        ConnectorSpec::Stdout(spec) => Opened::Node(Box::new(Stdout::open(spec))),
        ConnectorSpec::Generate(spec) => Opened::Source(Box::new(Generator::open(spec, context)?)),
        ConnectorSpec::Null => Opened::Node(Box::new(Null)),
        ConnectorSpec::HttpSource(spec) => Opened::Source(Box::new(HttpSourceNode::open(spec, context.clone())?)),
        ConnectorSpec::GrpcSource(spec) => Opened::Source(Box::new(GrpcSourceNode::open(&spec, context.clone())?)),
        ConnectorSpec::TcpSource(spec) => Opened::Source(Box::new(TcpSourceNode::open(spec, context.clone())?)),
        ConnectorSpec::Webhook(spec) => Opened::Node(Box::new(WebhookNode::open(spec, context)?)),
    })
}
