//! Where a node listens.

use std::{
    env, fs,
    io::ErrorKind,
    net::{SocketAddr, ToSocketAddrs as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::ServeError;

pub(crate) const VARIABLE: &str = "MESHLOOM_LISTEN";
const BY_HAND: &str = "127.0.0.1:7480";

/// An address in gRPC's name syntax, and whether it was chosen for want of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    pub(crate) by_hand: bool,
    /// Whether the address was given in the program rather than in the environment.
    explicit: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

pub(crate) enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Address {
    pub(crate) fn choose(explicit: Option<String>) -> Result<Self, ServeError> {
        let given = explicit.is_some();
        let text = explicit.or_else(|| env::var(VARIABLE).ok().filter(|text| !text.is_empty()));
        let by_hand = text.is_none();
        let place = parse(text.as_deref().unwrap_or(BY_HAND))
            .map_err(|message| ServeError::Environment { variable: VARIABLE, message })?;
        Ok(Self { place, by_hand, explicit: given })
    }

    pub(crate) fn is_local(&self) -> bool {
        match &self.place {
            Place::Unix(_) => true,
            Place::Tcp(address) => address.ip().is_loopback(),
        }
    }

    pub(crate) async fn bind(&self) -> Result<Listener, ServeError> {
        match &self.place {
            Place::Unix(path) => bind_unix(path).await,
            Place::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp).map_err(|error| {
                let taken = error.kind() == ErrorKind::AddrInUse;
                let message = match (taken, self.explicit) {
                    (true, false) => format!("another process listens there; set {VARIABLE} to a free address, for instance {VARIABLE}=127.0.0.1:7481"),
                    (true, true) => "another process listens there; choose another address".to_owned(),
                    (false, _) => error.to_string(),
                };
                ServeError::Listen { address: address.to_string(), message, taken }
            }),
        }
    }
}

/// Reads `unix:PATH`, `unix:///PATH`, `HOST:PORT`, `dns:HOST:PORT` or `dns:///HOST:PORT`.
fn parse(text: &str) -> Result<Place, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        // A socket's address has 108 bytes, one of them for its end; 104 on macOS.
        return match path.len() {
            0 => Err(format!("`{text}` names no path; write for instance unix:/run/node.sock")),
            1..=103 => Ok(Place::Unix(path.into())),
            long => {
                Err(format!("the path of a Unix socket may have 103 bytes, `{path}` has {long}; use a shorter folder"))
            }
        };
    }
    let host = text.strip_prefix("dns:").map_or(text, |rest| rest.strip_prefix("///").unwrap_or(rest));
    let mut addresses = host
        .to_socket_addrs()
        .map_err(|error| format!("`{text}` is no address to listen on ({error}); write unix:/path or host:port"))?;
    addresses.next().map(Place::Tcp).ok_or_else(|| format!("`{host}` has no address"))
}

/// A socket file that nobody listens on is left over from a process that was killed: it is replaced.
async fn bind_unix(path: &Path) -> Result<Listener, ServeError> {
    let refuse = |message: String, taken: bool| ServeError::Listen {
        address: format!("unix:{}", path.display()),
        message,
        taken,
    };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(refuse(
                format!("something that is no socket is there; remove it or set {VARIABLE} to another path"),
                false,
            ));
        }
        match UnixStream::connect(path).await {
            Ok(_) => {
                return Err(refuse(format!("another process listens there; set {VARIABLE} to another path"), true));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| {
                    refuse(format!("the socket of an earlier process cannot be removed: {error}"), false)
                })?;
            }
            Err(error) => {
                return Err(refuse(
                    format!("the socket there cannot be used ({error}); remove it or set {VARIABLE} to another path"),
                    false,
                ));
            }
        }
    }
    match UnixListener::bind(path) {
        Ok(listener) => Ok(Listener::Unix(listener, path.to_owned())),
        Err(error) => Err(refuse(format!("{error}; the folder must exist and be writable"), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_grpc_name_syntax() {
        assert_eq!(parse("unix:/tmp/n.sock"), Ok(Place::Unix("/tmp/n.sock".into())));
        assert_eq!(parse("unix:///tmp/n.sock"), Ok(Place::Unix("/tmp/n.sock".into())));
        assert_eq!(parse("unix:n.sock"), Ok(Place::Unix("n.sock".into())));
        let local = Ok(Place::Tcp("127.0.0.1:7480".parse().expect("an address")));
        assert_eq!(parse("127.0.0.1:7480"), local);
        assert_eq!(parse("dns:127.0.0.1:7480"), local);
        assert_eq!(parse("dns:///127.0.0.1:7480"), local);
    }

    #[test]
    fn a_bad_address_says_what_to_write() {
        assert!(parse("7480").expect_err("no host").contains("write unix:/path or host:port"));
        assert!(parse("unix:").expect_err("no path").contains("unix:/run/node.sock"));
        assert!(parse(&format!("unix:/{}", "x".repeat(110))).expect_err("too long").contains("shorter folder"));
    }

    #[tokio::test]
    async fn a_socket_left_over_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("n.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let address = Address { place: Place::Unix(path), by_hand: false, explicit: false };
        let held = address.bind().await.expect("replaced");
        let refused = address.bind().await.err().expect("in use");
        assert_eq!(refused.exit_code(), 69);
        assert!(refused.to_string().contains(VARIABLE));
        drop(held);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        fs::write(&path, "keep").expect("written");
        let address = Address { place: Place::Unix(path.clone()), by_hand: false, explicit: false };
        assert!(address.bind().await.is_err());
        assert_eq!(fs::read_to_string(path).expect("still there"), "keep");
    }
}
