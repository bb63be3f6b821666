//! HTTP ingest with durable answers, against what the disk's syncs allow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::disk;
use crate::{process::Program, settings::Settings};

/// Clients, each with one request at a time.
const CONNECTIONS: u64 = 64;
/// Bytes of a record that one event takes in the journal, about.
const RECORD: usize = 300;

/// Requests per second, and the limit: every client has one request in each sync.
pub(super) async fn measure(settings: &Settings) -> anyhow::Result<(f64, f64)> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let (file, log) = (folder.path().join("pipeline.yaml"), folder.path().join("log"));
    let text = "pipeline: bench\nnodes:\n  in: { use: http, with: { listen: 127.0.0.1:0 } }\n  out: { use: \"null\", from: in }\n";
    std::fs::write(&file, text)?;
    let state = folder.path().join("state");
    let command = [settings.meshloom.as_os_str(), "run".as_ref(), file.as_ref(), "--state".as_ref(), state.as_ref()];
    let mut run = Program::start(&command, &[], &log)?;
    let url = run
        .until("a port", async || {
            let said = std::fs::read_to_string(&log).ok()?;
            said.split_once("listening on http://")?.1.split_once('\n').map(|(url, _)| url.trim().to_owned())
        })
        .await?;
    let (address, path) = url.split_once('/').context("a path")?;
    let body = format!("{{\"text\": \"{}\"}}", "x".repeat(88));
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await?;
        clients.spawn(client(stream, request.clone(), answered.clone(), over.clone()));
    }
    tokio::time::sleep(settings.warm_up).await;
    let (start, before) = (Instant::now(), answered.load(Ordering::Relaxed));
    tokio::time::sleep(settings.span).await;
    let requests = answered.load(Ordering::Relaxed) - before;
    let rate = requests as f64 / start.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    run.kill().await?;
    let (path, span) = (folder.path().to_owned(), settings.span);
    let block = CONNECTIONS as usize * RECORD;
    let syncs =
        tokio::task::spawn_blocking(move || disk::synced_blocks(&path, block, |_, start| start.elapsed() >= span));
    Ok((rate, CONNECTIONS as f64 * syncs.await??))
}

async fn client(
    mut stream: TcpStream,
    request: String,
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut answer = Vec::new();
    while !over.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        // All of an answer is small, and nothing comes behind it.
        while !answer.ends_with(b"}") {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the server hung up");
        }
        if answer.starts_with(b"HTTP/1.1 202") {
            answered.fetch_add(1, Ordering::Relaxed);
        } else {
            ensure!(answer.starts_with(b"HTTP/1.1 429"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}
