//! A sink that stands still while ten million events are offered, and then goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use meshloom_bench::frames::PAYLOAD;
use meshloom_proto::v1;
use tokio::time::sleep;

use crate::{process::Program, settings::Settings};

/// Events that are offered.
const EVENTS: u64 = 10_000_000;
/// What the documents say that the process takes besides `memory`.
const BESIDE_MIB: u64 = 64;
/// How long the sink stands still.
const STILL: Duration = Duration::from_secs(10);
/// For everything to come through afterwards.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn measure(settings: &Settings) -> anyhow::Result<String> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let at = folder.path().display();
    let (file, state) = (folder.path().join("pipeline.yaml"), folder.path().join("state"));
    let template = serde_json::to_string(PAYLOAD)?;
    let sink = format!("while [ -e {at}/stop ]; do sleep 0.05; done; cat > /dev/null");
    let text = format!(
        "pipeline: bench\nnodes:\n  in: {{ use: generate, with: {{ count: {EVENTS}, template: {template} }} }}\n  \
         out: {{ exec: [sh, -c, '{sink}'], mode: batch, timeout: 300s, from: in }}\n"
    );
    std::fs::write(&file, text)?;
    std::fs::write(folder.path().join("stop"), "")?;
    let command = [settings.meshloom.as_os_str(), "run".as_ref(), file.as_ref(), "--state".as_ref(), state.as_ref()];
    let mut run = Program::start(&command, &[], &folder.path().join("log"))?;
    let mut admin =
        run.until("an admin socket", async || meshloom_coordinator::connect_admin(&state).await.ok()).await?;
    sleep(STILL).await;
    let status = admin.status(v1::StatusRequest {}).await?.into_inner().status.context("a status")?;
    let (taken, budget) = (status.nodes[0].received, status.memory_budget_bytes >> 20);
    let still = peak_mib(run.pid())?;
    std::fs::remove_file(folder.path().join("stop"))?;
    let start = Instant::now();
    let mut peak = still;
    while let Ok(now) = peak_mib(run.pid()) {
        peak = peak.max(now);
        ensure!(start.elapsed() < PATIENCE, "the events did not come through within {PATIENCE:?}");
        sleep(Duration::from_millis(50)).await;
    }
    run.succeeds().await?;
    let (bound, after) = (budget + BESIDE_MIB, start.elapsed());
    let verdict = if peak <= bound { "reached" } else { "ABOVE" };
    Ok(format!(
        "stalled-sink   {EVENTS} events offered, {taken} taken in {STILL:?} of standstill at {still} MiB resident; all through \
         {after:.0?} later, {peak} MiB at most, bound {bound} MiB: {verdict}"
    ))
}

/// The most memory that a process has had resident, MiB; an error once it has ended.
fn peak_mib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("it has ended")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib >> 10)
}
