//! Development tasks that need Rust: `cargo run -p xtask -- generate`.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const PROTOS: [&str; 7] = ["batch", "coordinator", "ingress", "node", "process", "produce", "session"];

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("generate") => generate(),
        _ => bail!("usage: cargo run -p xtask -- generate"),
    }
}

/// Compiles the protos with protox (no protoc needed) into crates/proto/src/gen.
fn generate() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let proto = root.join("proto");
    let out = root.join("crates/proto/src/gen");
    std::fs::create_dir_all(&out)?;
    let files: Vec<PathBuf> = PROTOS.iter().map(|n| proto.join(format!("meshloom/v1/{n}.proto"))).collect();
    let descriptors = protox::compile(&files, [&proto]).context("the protos do not compile")?;
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .out_dir(&out)
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .skip_protoc_run()
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds_with_config(descriptors.clone(), config)
        .context("code generation failed")?;
    use prost::Message as _;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
