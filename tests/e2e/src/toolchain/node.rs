//! The Node.js SDK and folders that depend on it.

use std::{fs, path::PathBuf, process::Command, sync::OnceLock, time::SystemTime};

use super::{lock, succeed};
use crate::root;

/// A folder with a package.json, relative to the root, with its dependencies installed and the SDK built.
pub fn node_folder(folder: &str) -> PathBuf {
    static SDK: OnceLock<()> = OnceLock::new();
    SDK.get_or_init(|| {
        let _one = lock::hold("sdks-node");
        let sdk = root().join("sdks/node");
        install(&sdk);
        let built = modified(&sdk.join("dist/esm/index.js"));
        if built.is_none() || newest(&sdk.join("src")) > built {
            succeed(Command::new("npm").args(["run", "--silent", "build"]).current_dir(&sdk));
        }
    });
    let path = root().join(folder);
    let _one = lock::hold(&folder.replace('/', "-"));
    install(&path);
    path
}

/// `npm ci`, unless what is there is newer than the lock file.
fn install(folder: &std::path::Path) {
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_none() || modified(&folder.join("package-lock.json")) > installed {
        succeed(Command::new("npm").args(["ci", "--silent"]).current_dir(folder));
    }
}

fn modified(path: &std::path::Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn newest(folder: &std::path::Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .filter_map(|entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) })
        .max()
}
