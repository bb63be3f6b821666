//! Development tasks that need Rust: `cargo run -p xtask -- generate`. The rules of the workspace are its tests.

mod generate;
#[cfg(test)]
mod layout;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("generate") => generate::generate(),
        _ => bail!("usage: cargo run -p xtask -- generate"),
    }
}
