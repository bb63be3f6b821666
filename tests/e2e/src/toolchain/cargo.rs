//! The programs of the workspace, in the target folder that this test program came from, or where E2E_PROGRAMS says
//! that they have been built already.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use super::succeed;
use crate::{checkout::profile_dir, root};

fn built() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("E2E_PROGRAMS") {
            return folder.into();
        }
        let folder = profile_dir();
        let target = folder.parent().expect("a profile's folder is in the target folder");
        let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        cargo.args(["build", "--quiet", "--locked", "-p", "meshloom-cli", "-p", "test-node", "-p", "ingest"]);
        succeed(cargo.arg("--target-dir").arg(target).current_dir(root()));
        folder
    })
}

/// The coordinator.
pub fn meshloom() -> PathBuf {
    built().join("meshloom")
}

/// The Rust test node.
pub fn rust_test_node() -> PathBuf {
    built().join("test-node")
}

/// The Rust interpreter of the conformance kit.
pub fn rust_interpreter() -> PathBuf {
    built().join("interpreter")
}

/// The Rust test publisher.
pub fn rust_test_publisher() -> PathBuf {
    built().join("test-publisher")
}

/// The source of the anomaly pipeline.
pub fn rust_ingest() -> PathBuf {
    built().join("ingest")
}
