//! What a run may be told besides its pipeline.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use meshloom_config::spec::Address;
use meshloom_journal::storage::Folders;
use meshloom_telemetry::export::ExportOptions;
use subtle::ConstantTimeEq as _;

/// Options of a run.
#[derive(Debug)]
pub struct Options {
    /// Where state is kept.
    pub state: StateChoice,
    /// What the journal, the positions and the dead letters in it are written through.
    pub folders: Arc<dyn Folders>,
    /// Sources of which what earlier runs have left in the journal is given up.
    pub discard_journal: Vec<String>,
    /// Nodes that were started by hand, and where they listen.
    pub attach: Vec<(String, Address)>,
    /// The collector; `None`: traces are only kept in memory.
    pub export: Option<ExportOptions>,
    /// Where metrics are served over HTTP; `None`: nowhere.
    pub admin: Option<AdminPort>,
    /// Bytes of spans kept in memory, about.
    pub trace_bytes: usize,
    /// A program that runs as a guard when its first argument is `guard`: this binary.
    pub guard: PathBuf,
}

/// Where a run keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChoice {
    /// Here, going on from what is there.
    Keep(PathBuf),
    /// Here, after what is there was moved aside.
    Fresh(PathBuf),
    /// In a folder that goes with the run.
    Ephemeral,
}

/// Where the coordinator serves HTTP, and to whom.
#[derive(Debug, Clone)]
pub struct AdminPort {
    /// Its address; port 0 takes any that is free.
    pub address: SocketAddr,
    /// What requests have to carry; an address that is not loopback needs one.
    pub token: Option<Token>,
}

/// A secret that requests carry. Never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// What the user has set; `None`: nothing but space.
    pub fn new(written: &str) -> Option<Self> {
        let token = written.trim();
        (!token.is_empty()).then(|| Self(token.to_owned()))
    }

    /// Whether the value of an `Authorization` header holds it. Takes the same time wherever they differ.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}
