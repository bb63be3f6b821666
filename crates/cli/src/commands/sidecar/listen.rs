//! Where a sidecar listens.

use std::{
    io::ErrorKind,
    net::{SocketAddr, ToSocketAddrs as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Longest path of a Unix socket, in bytes, on every system.
const SOCKET_PATH: usize = 103;
const ELSEWHERE: &str = "choose another with --listen or MESHLOOM_LISTEN";

/// A listener, and what others dial.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) address: String,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Listens on an address in gRPC's name syntax: `unix:PATH`, `HOST:PORT`, `dns:HOST:PORT`.
pub(super) async fn bind(written: &str) -> anyhow::Result<Bound> {
    if let Some(path) = written.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return bind_unix(Path::new(path)).await;
    }
    let target = written.strip_prefix("dns:").map_or(written, |target| target.trim_start_matches('/'));
    let address = target
        .to_socket_addrs()
        .with_context(|| format!("`{written}` is no address to listen on; write host:port or unix:/path"))?
        .next()
        .with_context(|| format!("`{target}` has no address; write host:port or unix:/path"))?;
    bind_tcp(address).await
}

async fn bind_tcp(address: SocketAddr) -> anyhow::Result<Bound> {
    let trusted = std::env::var("MESHLOOM_INSECURE").is_ok_and(|value| value == "1");
    ensure!(
        address.ip().is_loopback() || trusted,
        "{address} can be reached from other machines, without encryption; listen on loopback, or set MESHLOOM_INSECURE=1 on a network that you trust"
    );
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("{address} cannot be listened on; {ELSEWHERE}"))?;
    let address = listener.local_addr()?.to_string();
    Ok(Bound { listener: Listener::Tcp(listener), address })
}

/// The socket of a process that has gone is replaced, anything else is left alone.
async fn bind_unix(path: &Path) -> anyhow::Result<Bound> {
    let length = path.as_os_str().len();
    ensure!(
        (1..=SOCKET_PATH).contains(&length),
        "a socket's path has 1 to {SOCKET_PATH} bytes, this one {length}; {ELSEWHERE}"
    );
    let path = std::path::absolute(path)?;
    if let Ok(found) = std::fs::symlink_metadata(&path) {
        ensure!(found.file_type().is_socket(), "{} is there and is no socket; {ELSEWHERE}", path.display());
        match UnixStream::connect(&path).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(&path)
                .with_context(|| format!("the old socket {} cannot be removed; {ELSEWHERE}", path.display()))?,
            _ => bail!("another process listens on {}; {ELSEWHERE}", path.display()),
        }
    }
    let listener = UnixListener::bind(&path);
    let listener = listener.with_context(|| {
        format!("{} cannot be listened on: its folder must exist and be writable; {ELSEWHERE}", path.display())
    })?;
    let address = format!("unix:{}", path.display());
    Ok(Bound { listener: Listener::Unix(listener, path), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(written: &str) -> String {
        format!("{:#}", bind(written).await.unwrap_err())
    }

    #[tokio::test]
    async fn a_free_port_is_told() {
        let bound = bind("127.0.0.1:0").await.unwrap();
        assert!(!bound.address.ends_with(":0"), "{}", bound.address);
        assert!(refused(&bound.address).await.contains("--listen"));
    }

    #[tokio::test]
    async fn bad_and_remote_addresses_are_refused_with_a_remedy() {
        assert!(refused("7480").await.contains("write host:port or unix:/path"));
        assert!(refused("0.0.0.0:0").await.contains("MESHLOOM_INSECURE=1"));
        assert!(refused("unix:").await.contains("1 to 103 bytes"));
        assert!(refused(&format!("unix:/{}", "x".repeat(110))).await.contains("1 to 103 bytes"));
        assert!(refused("unix:/no/such/folder/s").await.contains("must exist"));
    }

    #[tokio::test]
    async fn an_old_socket_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", folder.path().join("s").display());
        drop(bind(&socket).await.unwrap());
        let held = bind(&socket).await.unwrap();
        assert!(refused(&socket).await.contains("another process listens"));
        drop(held);
        let file = folder.path().join("notes");
        std::fs::write(&file, "keep").unwrap();
        assert!(refused(&format!("unix:{}", file.display())).await.contains("is no socket"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), "keep");
    }
}
