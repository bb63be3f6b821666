//! The journal against write + fdatasync of the same bytes.

use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use meshloom_journal::{Journal, Options, storage::Disk};

use super::disk;

/// Bytes of a block.
const BLOCK: usize = 1 << 20;
/// Blocks of a run.
const BLOCKS: u32 = 128;

/// MiB per second of the journal, and of the reference.
pub(super) async fn measure() -> anyhow::Result<(f64, f64)> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let (journal, _) = Journal::open(Disk::new(&folder.path().join("journal"))?, Options { size: 1 << 30 })?;
    let source = journal.source("bench").context("a source")?;
    let block = Bytes::from(vec![b'x'; BLOCK]);
    let start = Instant::now();
    for _ in 0..BLOCKS {
        journal.append(source, vec![block.clone()]).await?;
    }
    let ours = f64::from(BLOCKS) / start.elapsed().as_secs_f64();
    journal.close().await;
    let path = folder.path().to_owned();
    let plain = tokio::task::spawn_blocking(move || disk::synced_blocks(&path, BLOCK, |blocks, _| blocks == BLOCKS));
    Ok((ours, plain.await??))
}
