//! Connections to node servers. Every stream has one of its own, so that no two share a flow-control window.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use meshloom_config::spec::Address;
use meshloom_wire::transport;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Dials once. A ping may stay unanswered as long as one handler call may take, since some SDKs cannot answer meanwhile.
pub(crate) async fn dial(address: &Address, timeout: Duration) -> Result<Channel, tonic::transport::Error> {
    let uri = match address {
        Address::Unix(_) => "http://node.localhost".to_owned(),
        Address::Tcp { .. } => format!("http://{address}"),
    };
    let endpoint =
        transport::tune(Endpoint::from_shared(uri)?).keep_alive_timeout(timeout + transport::KEEPALIVE_TIMEOUT);
    match address {
        Address::Tcp { .. } => endpoint.connect().await,
        Address::Unix(path) => {
            let path = path.clone();
            let connector = service_fn(move |_: Uri| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            });
            endpoint.connect_with_connector(connector).await
        }
    }
}
