//! Whether a process is the node that the pipeline file means.

use meshloom_config::{NodeSpec, suggest};
use meshloom_proto::v1::{DescribeResponse, Handler, HandlerRole};

use crate::error::RunError;

/// Versions of the protocol that this coordinator speaks.
pub(crate) const PROTOCOL: (u32, u32) = (1, 1);

/// Picks the handler that a node runs and checks that it fits its place in the graph.
///
/// `routes`: the routes that other nodes take from this one.
pub(crate) fn pick_handler<'a>(
    spec: &NodeSpec,
    described: &'a DescribeResponse,
    routes: &[String],
) -> Result<&'a Handler, RunError> {
    let fail = |code, message: String| RunError::node(&spec.name, code, message);
    if let Some(range) = described.protocol
        && (range.min > PROTOCOL.1 || range.max < PROTOCOL.0)
    {
        let side = if range.min > PROTOCOL.1 { "the coordinator" } else { "the node's SDK" };
        return Err(fail(
            "PROTOCOL_UNSUPPORTED",
            format!(
                "the node speaks protocol {} to {}, this coordinator {} to {}",
                range.min, range.max, PROTOCOL.0, PROTOCOL.1
            ),
        )
        .with_remedy(format!("upgrade {side}")));
    }
    let names = || described.handlers.iter().map(|handler| handler.name.as_str());
    let wanted = spec.handler.as_deref().unwrap_or(&spec.name);
    let found = described.handlers.iter().find(|handler| handler.name == wanted);
    let handler = match (found, &spec.handler, &described.handlers[..]) {
        (Some(handler), _, _) | (None, None, [handler]) => handler,
        _ => {
            let hint = suggest(wanted, names()).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let all: Vec<&str> = names().collect();
            return Err(fail(
                "HANDLER_UNKNOWN",
                format!("the process serves {}, not `{wanted}`{hint}", all.join(", ")),
            )
            .with_remedy("write `handler: NAME` at the node"));
        }
    };
    let is_source = handler.role() == HandlerRole::Source;
    if is_source != spec.is_source() {
        let (is, has) = if is_source { ("a source", "has `from`") } else { ("no source", "has no `from`") };
        return Err(fail("ROLE_MISMATCH", format!("handler `{}` is {is}, but the node {has}", handler.name)));
    }
    if let Some(route) = routes.iter().find(|route| !handler.routes.contains(route)) {
        let declared = if handler.routes.is_empty() { "none".to_owned() } else { handler.routes.join(", ") };
        return Err(fail(
            "ROUTE_UNDECLARED",
            format!(
                "a node takes `{}.{route}`, but handler `{}` declares the routes: {declared}",
                spec.name, handler.name
            ),
        )
        .with_remedy("correct the name, or declare the route in the handler"));
    }
    if is_source && spec.replicas > 1 && !handler.partitioned {
        return Err(fail("ROLE_MISMATCH", format!("source `{}` does not share its work among replicas", handler.name))
            .with_remedy("remove `replicas`"));
    }
    Ok(handler)
}
