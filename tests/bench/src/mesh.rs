//! The other side: the same events through `meshloom run`, with a node that is written with the SDK.
//!
//! Throughput is read from the coordinator's own books (events that the sink has consumed), twice, by the bench's clock:
//! start-up, growth of the batches and the drain are outside. Events are lost or retried by none of it, or the run fails.

use std::{fmt::Write as _, path::Path, time::Instant};

use anyhow::{Context as _, bail, ensure};
use meshloom_bench::frames::PAYLOAD;
use meshloom_proto::v1::{self, coordinator_service_client::CoordinatorServiceClient};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::{
    cases::Case,
    measured::{Measured, Reading},
    process::{PATIENCE, Program, cpu_time},
    settings::Settings,
};

type Admin = CoordinatorServiceClient<Channel>;

/// How often the size of batches is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

/// Measures a case behind the coordinator.
pub(crate) async fn measure(case: &Case, settings: &Settings) -> anyhow::Result<Measured> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let (file, state) = (folder.path().join("pipeline.yaml"), folder.path().join("state"));
    std::fs::write(&file, pipeline(case, settings)?)?;
    let text = |path: &Path| path.display().to_string();
    let command = [text(&settings.meshloom), "run".into(), text(&file), "--state".into(), text(&state)];
    let mut run = Program::start(&command, &[], &folder.path().join("log"))?;
    let mut admin =
        run.until("an admin socket", async || meshloom_coordinator::connect_admin(&state).await.ok()).await?;
    let measured = watch(&mut admin, run.pid(), settings).await?;
    admin.drain(v1::DrainRequest {}).await?;
    run.succeeds().await?;
    Ok(measured)
}

fn pipeline(case: &Case, settings: &Settings) -> anyhow::Result<String> {
    let mut text = String::from("pipeline: bench\nnodes:\n");
    writeln!(text, "  source: {{ use: generate, with: {{ template: {} }} }}", serde_json::to_string(PAYLOAD)?)?;
    let command = serde_json::to_string(&case.sdk_command(settings))?;
    writeln!(text, "  hop: {{ run: {command}, handler: {}, from: source }}", case.handler)?;
    writeln!(text, "  sink: {{ use: \"null\", from: hop }}")?;
    Ok(text)
}

async fn watch(admin: &mut Admin, coordinator: u32, settings: &Settings) -> anyhow::Result<Measured> {
    let deadline = Instant::now() + PATIENCE;
    while look(admin).await?.consumed == 0 {
        ensure!(Instant::now() < deadline, "no event came through within {PATIENCE:?}");
        sleep(LOOK).await;
    }
    sleep(settings.warm_up).await;
    let first = look(admin).await?;
    let read = |look: &Look| {
        let (client_cpu, node_cpu) = (cpu_time(coordinator)?, cpu_time(look.node)?);
        anyhow::Ok(Reading { at: look.at, events: look.consumed, client_cpu, node_cpu })
    };
    let from = read(&first)?;
    let (mut sizes, mut in_flight) = (Vec::new(), Vec::new());
    loop {
        sleep(LOOK).await;
        let now = look(admin).await?;
        if now.works > 0 {
            sizes.push(now.in_hand.div_ceil(u64::from(now.works)) as u32);
        }
        in_flight.push(now.works);
        if now.at.duration_since(first.at) >= settings.span {
            let batch = middle(&mut sizes).context("the node was never seen at work")?;
            return Ok(Measured::between(&from, &read(&now)?, batch, middle(&mut in_flight).unwrap_or_default()));
        }
    }
}

fn middle(values: &mut [u32]) -> Option<u32> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The books at one moment.
struct Look {
    at: Instant,
    /// By the sink.
    consumed: u64,
    /// Events and works at the node.
    in_hand: u64,
    works: u32,
    /// The node's process.
    node: u32,
}

async fn look(admin: &mut Admin) -> anyhow::Result<Look> {
    let asked = timeout(PATIENCE, admin.status(v1::StatusRequest {})).await.context("the coordinator stands still")?;
    let at = Instant::now();
    let status = asked?.into_inner().status.unwrap_or_default();
    let [_, hop, sink] = &status.nodes[..] else { bail!("the status has {} nodes", status.nodes.len()) };
    for node in [hop, sink] {
        ensure!(node.retried == 0 && node.dead_lettered == 0 && node.restarts == 0, "{} failed: {node:?}", node.name);
    }
    let replica = hop.replicas.first().context("the node has no replica")?;
    Ok(Look { at, consumed: sink.consumed, in_hand: hop.in_hand, works: replica.works, node: replica.pid })
}
