//! The reference: a file that grows, written and synced block by block.

use std::{fs::File, io::Write as _, path::Path, time::Instant};

/// Blocks of `bytes` bytes per second, over as many as are written until `enough` says so.
pub(super) fn synced_blocks(folder: &Path, bytes: usize, enough: impl Fn(u32, Instant) -> bool) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("plain"))?;
    let block = vec![b'x'; bytes];
    let start = Instant::now();
    let mut blocks = 0;
    while !enough(blocks, start) {
        file.write_all(&block)?;
        file.sync_data()?;
        blocks += 1;
    }
    Ok(f64::from(blocks) / start.elapsed().as_secs_f64())
}
