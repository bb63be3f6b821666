//! Tools that are no part of the project, installed by its own script.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use super::{lock, succeed};
use crate::root;

/// grpcurl.
pub fn grpcurl() -> PathBuf {
    folder().join("grpcurl")
}

/// Jaeger, all in one.
pub fn jaeger() -> PathBuf {
    folder().join("jaeger-all-in-one")
}

/// Where the tools are; made where they are not.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let _one = lock::hold("tools");
        PathBuf::from(succeed(&mut Command::new(root().join("tests/tools/install.sh"))).trim())
    })
}
