//! `meshloom sidecar`: a program without an SDK as an ordinary node server.

mod listen;
mod node;
mod spec;

use std::{io::stderr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use meshloom_connectors::{LogLine, LogStream};
use meshloom_telemetry::logs::{self, NodeLog, SharedWriter};
use meshloom_wire::serve::{NodeServer, serve};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;

use self::{
    listen::Listener,
    node::{Adapter, AdapterOptions},
};
use super::LogFormat;
use crate::{failure::Failure, runtime, signals::Signals};

/// Lines of the program's log that may wait.
const LOG_LINES: usize = 256;

/// Serve a program that has no SDK as a node; the flags are the keys of an `exec` node
///
/// The pipeline reaches it with `connect: ADDRESS`, or with `meshloom run --attach NODE=ADDRESS`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How events reach the program: a line out for each line in; a process per batch with NDJSON in and out; a process
    /// per batch that reads and writes files
    #[arg(long, value_parser = ["lines", "batch", "files"])]
    mode: String,
    /// The program is a source: it takes nothing
    #[arg(long, conflicts_with_all = ["from", "input"])]
    source: bool,
    /// With --mode files: an upstream, as the pipeline file writes it; may be repeated [default: input]
    #[arg(long, value_name = "UPSTREAM")]
    from: Vec<String>,
    /// With --mode files: name of the input file, or of that of one upstream; may be repeated
    #[arg(long, value_name = "[UPSTREAM=]FILE")]
    input: Vec<String>,
    /// With --mode files: the file that is read back
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
    /// With --mode files: run in --dir, or in a private folder per batch [default: dir]
    #[arg(long, value_parser = ["dir", "scratch"])]
    cwd: Option<String>,
    /// How events are written and read: NDJSON, or one JSON array (with --mode files) [default: ndjson]
    #[arg(long, value_parser = ["ndjson", "json"])]
    format: Option<String>,
    /// What of an event the program sees: its payload, or all of it as CloudEvents JSON [default: data]
    #[arg(long, value_parser = ["data", "cloudevents"])]
    envelope: Option<String>,
    /// With --source: run the program again after this time, such as 10s
    #[arg(long, value_name = "TIME")]
    every: Option<String>,
    /// With --cwd scratch: keep the folder of a failed batch
    #[arg(long)]
    keep_failed: bool,
    /// Time of one call, where the coordinator does not say [default: 30s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// The program's folder [default: the current one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Pass only PATH, HOME, USER, LANG, LC_*, TZ and TMPDIR to the program
    #[arg(long)]
    env_clear: bool,
    /// Name of the handler
    #[arg(long, default_value = "program", env = "MESHLOOM_NAME")]
    name: String,
    /// Where scratch folders and records are kept
    #[arg(long, value_name = "DIR", default_value = ".meshloom/sidecar", env = "MESHLOOM_STATE")]
    state: PathBuf,
    /// Where to listen: host:port or unix:/path
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7480", env = "MESHLOOM_LISTEN")]
    listen: String,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_LOG_FORMAT")]
    log_format: LogFormat,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) fn main(args: Args) -> Result<ExitCode, Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let dir = dir
        .canonicalize()
        .with_context(|| format!("the folder {} cannot be used; name one that exists with --dir", dir.display()))?;
    let (exec, timeout) = spec::read(&args, &dir)?;
    runtime::block_on(run(args, exec, timeout, dir))?
}

async fn run(
    args: Args,
    exec: meshloom_config::ExecSpec,
    timeout: Duration,
    dir: PathBuf,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    std::fs::create_dir_all(&args.state)
        .with_context(|| format!("{} cannot be made; name a writable folder with --state", args.state.display()))?;
    let state = args.state.canonicalize().context("the state folder has gone; name another with --state")?;
    let format = args.log_format.on_stderr();
    let writer = SharedWriter::new(stderr());
    logs::init(format, "info", &writer)?;
    let (log, lines) = mpsc::channel(LOG_LINES);
    tokio::spawn(write_logs(lines, NodeLog::new(format, writer, [(args.name.as_str(), 1)]), args.name.clone()));

    let listener = listen::bind(&args.listen).await.map_err(Failure::Unavailable)?;
    let upstreams = if args.source { Vec::new() } else { spec::upstreams(&args) };
    let adapter = Adapter(Arc::new(AdapterOptions {
        name: args.name.clone(),
        exec,
        timeout,
        upstreams,
        dir,
        state,
        env_clear: args.env_clear,
        log,
    }));
    let nodes = NodeServer::new("sidecar", env!("CARGO_PKG_VERSION"), vec![Box::new(adapter)]);
    tracing::info!(
        "`{}` listens on {}; use it with `connect: {}` in a pipeline file, or `meshloom run --attach NODE={}`",
        args.name,
        listener.address,
        listener.address,
        listener.address
    );
    let drain = CancellationToken::new();
    let served = serve_on(nodes, listener, drain.clone());
    tokio::pin!(served);
    loop {
        tokio::select! {
            served = &mut served => {
                served.context("the listener failed; start the sidecar again")?;
                return Ok(ExitCode::SUCCESS);
            }
            () = signals.next() => {
                if drain.is_cancelled() {
                    return Err(Failure::Interrupted("by a second signal"));
                }
                tracing::info!("draining: works in hand finish; a second signal stops at once");
                drain.cancel();
            }
        }
    }
}

async fn serve_on(
    nodes: NodeServer,
    listener: listen::Bound,
    drain: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    match listener.listener {
        Listener::Tcp(tcp) => {
            // As every node does: a frame must not wait for the acknowledgement of the one before.
            let incoming =
                tokio_stream::StreamExt::map(TcpListenerStream::new(tcp), |stream: std::io::Result<TcpStream>| {
                    stream.inspect(|stream| {
                        let _ = stream.set_nodelay(true);
                    })
                });
            serve(nodes, incoming, drain.cancelled_owned()).await
        }
        Listener::Unix(unix, path) => {
            let served = serve(nodes, UnixListenerStream::new(unix), drain.cancelled_owned()).await;
            // A next sidecar would remove it too.
            let _ = std::fs::remove_file(path);
            served
        }
    }
}

async fn write_logs(mut lines: mpsc::Receiver<LogLine>, log: NodeLog, name: String) {
    while let Some(line) = lines.recv().await {
        let stream = match line.stream {
            LogStream::Stdout => "stdout",
            LogStream::Stderr | LogStream::Node => "stderr",
        };
        // There is nobody left to tell that the log cannot be written.
        let _ = log.write(&name, 0, stream, &line.line, 0);
    }
}
