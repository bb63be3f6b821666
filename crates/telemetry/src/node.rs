//! What a spawned node is told about tracing.

use std::{fmt::Write, net::SocketAddr};

use crate::{
    export::{self, ExportError},
    names,
};

/// The standard variables that make a node's SDK export to the coordinator under the right name. The user's own `env`
/// comes after them and wins.
///
/// The coordinator's OTEL_RESOURCE_ATTRIBUTES and OTEL_SDK_DISABLED hold for its nodes too.
pub fn environment(
    receiver: SocketAddr,
    pipeline: &str,
    node: &str,
    replica: u32,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(&'static str, String)>, ExportError> {
    if export::disabled(env) {
        return Ok(vec![("OTEL_SDK_DISABLED", "true".into())]);
    }
    let mut attributes = format!("{}={replica}", names::SERVICE_INSTANCE);
    for (name, value) in export::resource_attributes(env)? {
        if name != names::SERVICE_NAME && name != names::SERVICE_INSTANCE {
            // Writing to a string cannot fail.
            let _ = write!(attributes, ",{name}={}", percent_encoding::utf8_percent_encode(&value, RESERVED));
        }
    }
    Ok(vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{receiver}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".into()),
        ("OTEL_SERVICE_NAME", names::service_name(pipeline, node)),
        ("OTEL_RESOURCE_ATTRIBUTES", attributes),
        ("OTEL_BSP_MAX_QUEUE_SIZE", SPAN_QUEUE.into()),
    ])
}

/// Spans that may wait in a node. The SDKs' own 2,048 are less than what a node makes between two exports when every
/// event is traced, and what does not fit is dropped.
const SPAN_QUEUE: &str = "32768";

/// What must be encoded in a value: what is not a "baggage octet".
const RESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%').add(b'=');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_and_sent_to_the_coordinator() {
        let env = |name: &str| {
            let users = "service.name=wrong,host.name=a%2C b%25";
            (name == "OTEL_RESOURCE_ATTRIBUTES").then(|| users.to_owned())
        };
        let variables = environment("127.0.0.1:4000".parse().unwrap(), "p", "n", 2, &env).unwrap();
        assert_eq!(
            variables,
            [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4000".to_owned()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
                ("OTEL_SERVICE_NAME", "p/n".to_owned()),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=2,host.name=a%2C%20b%25".to_owned()),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "32768".to_owned()),
            ]
        );
    }

    #[test]
    fn disabled_is_disabled_everywhere() {
        let env = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
        let variables = environment("127.0.0.1:4000".parse().unwrap(), "p", "n", 0, &env).unwrap();
        assert_eq!(variables, [("OTEL_SDK_DISABLED", "true".to_owned())]);
    }
}
