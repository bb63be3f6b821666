//! What durability costs, against the disk itself, and what a sink that stands still costs in memory.

mod disk;
mod http;
mod journal;
mod stall;

use crate::{report::spread, settings::Settings};

/// Rows besides the hops.
pub(crate) const ROWS: [&str; 3] = ["journal-append", "http-ingest", "stalled-sink"];

/// Measures a row of [`ROWS`] in `runs` runs, interleaved with its reference, and gives its line.
pub(crate) async fn measure(name: &str, runs: usize, settings: &Settings) -> anyhow::Result<String> {
    if name == "stalled-sink" {
        return stall::measure(settings).await;
    }
    let (mut ratios, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (ours, reference) = match name {
            "journal-append" => journal::measure().await?,
            _ => http::measure(settings).await?,
        };
        figures.push(ours);
        ratios.push(ours / reference);
    }
    let (unit, target) = match name {
        "journal-append" => ("MiB/s in blocks of 1 MiB, to write + fdatasync of the same", ">= 0.7"),
        _ => ("requests/s at 64 connections, each 202 durable, to 64 x the syncs/s of the disk", ""),
    };
    Ok(format!("{name:<14} {} {unit}: ratio {} {target}", spread(&figures), spread(&ratios)))
}
