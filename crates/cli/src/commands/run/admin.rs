//! `--admin HOST:PORT`.

use std::net::{SocketAddr, ToSocketAddrs as _};

use meshloom_coordinator::Token;

/// Reads a flag's value.
pub(crate) fn parse(written: &str) -> Result<SocketAddr, String> {
    let found = written.to_socket_addrs().map_err(|error| {
        format!("`{written}` is no address to listen on ({error}); write HOST:PORT, for example 127.0.0.1:9464")
    })?;
    found.into_iter().next().ok_or_else(|| format!("`{written}` has no address; write for example 127.0.0.1:9464"))
}

/// The secret of the environment, if there is one.
pub(crate) fn token(variable: impl Fn(&str) -> Option<String>) -> Option<Token> {
    Token::new(&variable("MESHLOOM_ADMIN_TOKEN")?)
}

#[test]
fn an_address_is_a_host_and_a_port() {
    assert_eq!(parse("127.0.0.1:9464").unwrap().to_string(), "127.0.0.1:9464");
    assert_eq!(parse("[::1]:0").unwrap().to_string(), "[::1]:0");
    for wrong in ["9464", ":9464x", "127.0.0.1", ""] {
        assert!(parse(wrong).unwrap_err().contains("127.0.0.1:9464"), "{wrong}");
    }
}

#[test]
fn a_token_of_nothing_but_space_is_none() {
    assert!(token(|_| None).is_none());
    assert!(token(|_| Some(" ".into())).is_none());
    assert!(token(|name| (name == "MESHLOOM_ADMIN_TOKEN").then(|| "secret".into())).is_some());
}
