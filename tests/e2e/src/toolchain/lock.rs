//! Several test programs may build at the same time; each thing is built by one of them.

use std::fs::File;

use crate::checkout::cache;

/// Held until dropped, by one process on this machine.
pub(super) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

pub(super) fn hold(name: &str) -> Lock {
    let path = cache().join(format!("e2e-{name}.lock"));
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Lock(file)
}
