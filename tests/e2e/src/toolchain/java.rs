//! The node of the conformance kit that is written without an SDK.

use std::process::Command;

use super::{lock, succeed};
use crate::{checkout::cache, root};

/// Its command, as a shell has it.
pub fn java_interpreter() -> String {
    let _one = lock::hold("foreign-java");
    let script = root().join("tests/conformance/foreign/java/build.sh");
    let printed = succeed(Command::new("sh").arg(script).env("MESHLOOM_CACHE", cache()));
    printed.lines().last().expect("it prints the command").to_owned()
}
