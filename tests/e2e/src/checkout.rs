//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two folders below the root")
}

/// Where cargo put this test program's package: `target/debug`.
pub(crate) fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let deps = program.parent().expect("a program is in a folder");
    if deps.ends_with("deps") { deps.parent().expect("deps is in a folder").to_owned() } else { deps.to_owned() }
}

/// Tools and environments that outlive a checkout.
pub(crate) fn cache() -> PathBuf {
    let cache = std::env::var_os("MESHLOOM_CACHE").filter(|path| !path.is_empty()).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/meshloom"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&cache).expect("the cache can be made");
    cache
}
