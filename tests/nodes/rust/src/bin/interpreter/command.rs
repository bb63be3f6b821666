//! The commands.

use serde::Deserialize;

use crate::out::Out;

/// What an event asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    Pass,
    Drop,
    Emit {
        outputs: Vec<Out>,
    },
    Copy,
    Context,
    Reject {
        #[serde(default = "rejected")]
        reason: String,
        #[serde(default)]
        message: String,
    },
    Retry {
        reason: Option<String>,
        #[serde(default)]
        message: String,
        after_ms: Option<u64>,
        until: Option<u32>,
    },
    Throw {
        message: String,
        until: Option<u32>,
    },
    Panic {
        message: String,
    },
    Nothing,
    Twice,
    Misname,
    Whole {
        outputs: Vec<Out>,
    },
    Stream {
        count: u64,
        bytes: usize,
        fail_after: Option<u64>,
    },
    Sleep {
        ms: u64,
    },
    Block {
        ms: u64,
    },
    /// There is no global lock to hold here.
    #[serde(alias = "hold")]
    Spin {
        ms: u64,
    },
    Note {
        n: i64,
    },
    Spans {
        names: Vec<String>,
    },
    Log {
        message: String,
    },
    Allocate {
        bytes: usize,
    },
    Exit {
        status: i32,
    },
    Report,
}

fn rejected() -> String {
    "REJECTED".to_owned()
}
