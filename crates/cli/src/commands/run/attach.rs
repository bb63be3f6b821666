//! `--attach NODE=ADDRESS`.

use std::path::Path;

use meshloom_config::{Environment, spec::Address};

/// A node that was started by hand, and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    pub(crate) node: String,
    pub(crate) address: Address,
}

/// Reads a flag's value; a relative socket is below the current folder.
pub(crate) fn parse(written: &str) -> Result<Attach, String> {
    let (node, address) = written
        .split_once('=')
        .filter(|(node, _)| !node.is_empty())
        .ok_or_else(|| format!("`{written}` is not NODE=ADDRESS; write for example classify=127.0.0.1:7480"))?;
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let address = Address::parse(address, &here, &Environment::process())?;
    Ok(Attach { node: node.to_owned(), address })
}

#[test]
fn an_attachment_names_a_node_and_an_address() {
    let attach = parse("classify=127.0.0.1:7480").unwrap();
    assert_eq!((attach.node.as_str(), attach.address.to_string().as_str()), ("classify", "127.0.0.1:7480"));
    assert_eq!(parse("a=unix:/tmp/x").unwrap().address, Address::Unix("/tmp/x".into()));
    assert!(parse("classify").unwrap_err().contains("NODE=ADDRESS"));
    assert!(parse("=127.0.0.1:1").unwrap_err().contains("NODE=ADDRESS"));
    assert!(parse("a=127.0.0.1").unwrap_err().contains("host:port"));
}
