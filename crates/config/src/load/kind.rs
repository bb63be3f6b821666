//! `run`, `connect`, `exec` and `use`.

use std::{net::IpAddr, path::Path};

use super::{Environment, Load, node::Draft};
use crate::{
    diagnostic::{Code, codes},
    read::{self, Fields, refuse},
    spec::{Address, NodeKind, resolve},
    yaml::Node,
};

impl Load<'_> {
    /// What realises a node.
    pub(super) fn kind(&mut self, kind: &str, fields: &Fields<'_>, draft: &mut Draft) -> Option<NodeKind> {
        let dir = draft.spec.dir.clone();
        let build = fields.value("build");
        draft.spec.build = build.and_then(|value| read::command(value, &dir, false, &mut self.report));
        let value = fields.value(kind)?;
        match kind {
            "run" => read::command(value, &dir, build.is_some(), &mut self.report).map(NodeKind::Run),
            "connect" => {
                let addresses = self.addresses(value)?;
                draft.spec.replicas = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
                Some(NodeKind::Connect(addresses))
            }
            "exec" => self.exec(value, fields, draft).map(NodeKind::Exec),
            _ => self.connector(value, fields, draft).map(NodeKind::Use),
        }
    }

    fn addresses(&mut self, value: &Node) -> Option<Vec<Address>> {
        let listed = read::list_of_text(value, "an address, or a list of addresses", &mut self.report)?;
        let count = listed.len();
        let addresses: Vec<Address> =
            listed.into_iter().filter_map(|(written, node)| self.address(written, node)).collect();
        (addresses.len() == count).then_some(addresses)
    }

    fn address(&mut self, written: &str, node: &Node) -> Option<Address> {
        match parse_address(written, self.dir, self.environment) {
            Ok(address) => Some(address),
            Err(problem) => refuse(problem.code, node, problem.message, problem.remedy, &mut self.report),
        }
    }
}

/// Why a text is not an address that may be used.
struct AddressProblem {
    code: &'static Code,
    message: String,
    remedy: &'static str,
}

fn parse_address(written: &str, dir: &Path, environment: &Environment<'_>) -> Result<Address, AddressProblem> {
    let malformed = |message: String, remedy| AddressProblem { code: &codes::BAD_ADDRESS, message, remedy };
    if let Some(path) = written.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(malformed("the address has no path".into(), "write `unix:/path/to/socket`"));
        }
        return Ok(Address::Unix(resolve(dir, path)));
    }
    let target = written.strip_prefix("dns:").map_or(written, |target| target.trim_start_matches('/'));
    let Some((host, port)) = host_and_port(target) else {
        return Err(malformed(
            format!("`{written}` is not an address"),
            "write `host:port`, `dns:host:port` or `unix:/path`",
        ));
    };
    if !is_loopback(&host) && !environment.is_on("MESHLOOM_INSECURE") {
        return Err(AddressProblem {
            code: &codes::PLAINTEXT_REMOTE,
            message: format!("`{host}` is another machine, and connections to it would not be encrypted"),
            remedy: codes::PLAINTEXT_REMOTE.remedy,
        });
    }
    Ok(Address::Tcp { host, port })
}

impl Address {
    /// Reads an address as the pipeline file has it; a relative socket is below `dir`.
    ///
    /// # Errors
    /// What is wrong with it and what to write.
    pub fn parse(written: &str, dir: &Path, environment: &Environment<'_>) -> Result<Self, String> {
        parse_address(written, dir, environment).map_err(|problem| format!("{}; {}", problem.message, problem.remedy))
    }
}

/// `host:port` or `[v6]:port`, with a port above zero.
pub(super) fn host_and_port(target: &str) -> Option<(String, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None => host.to_owned(),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let valid = !host.is_empty() && (host.chars().all(fits) || host.parse::<IpAddr>().is_ok());
    valid.then_some((host, port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
