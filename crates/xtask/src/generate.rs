//! Rust code from the protos, with protox: no protoc is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use prost::Message as _;

/// Compiles proto/meshloom/v1 into crates/proto/src/gen. Files that would not change are left alone, so that cargo
/// builds nothing again.
pub(crate) fn generate() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let (proto, out) = (root.join("proto"), root.join("crates/proto/src/gen"));
    fs::create_dir_all(&out)?;
    let descriptors =
        protox::compile(files(&proto.join("meshloom/v1"))?, [&proto]).context("the protos do not compile")?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(&out)
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds_with_config(descriptors.clone(), config)
        .context("code generation failed")?;
    write(&out.join("descriptors.bin"), &descriptors.encode_to_vec())
}

/// The protos of a folder, by name: the order decides the order of the descriptors.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}
