//! `meshloom run`.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use meshloom_coordinator::{Ended, Handle, LogReceiver, Options, Service, StateChoice};
use meshloom_telemetry::{
    export::ExportOptions,
    logs::{self, NodeLog, SharedWriter},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    failure::{Failure, exit},
    place::{self, PipelineFile},
    terminal,
};

/// Run a pipeline: start its nodes, move its events
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: PipelineFile,
    /// Where state is kept [default: .meshloom/PIPELINE beside the pipeline file]
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
    /// Start over: the old state is moved aside
    #[arg(long, conflicts_with = "ephemeral")]
    fresh: bool,
    /// Keep no state
    #[arg(long, conflicts_with = "state")]
    ephemeral: bool,
    /// Send traces to this collector (OTLP over gRPC)
    #[arg(long, value_name = "URL", env = "MESHLOOM_OTLP")]
    otlp: Option<String>,
}

pub(crate) fn main(args: Args) -> Result<ExitCode, Failure> {
    let pipeline = args.file.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the runtime cannot be started; look at the limits of this process (ulimit -a)")?;
    let ended = runtime.block_on(run(args, pipeline));
    runtime.shutdown_background();
    ended
}

async fn run(args: Args, pipeline: meshloom_config::Pipeline) -> Result<ExitCode, Failure> {
    let format = logs::Format::Human { colour: terminal::colour_on_stderr() };
    let writer = SharedWriter::new(io::stderr());
    let filter = std::env::var("MESHLOOM_LOG").unwrap_or_else(|_| "info".into());
    logs::init(format, &filter, &writer).map_err(|error| Failure::Usage(error.into()))?;
    let node_log =
        NodeLog::new(format, writer, pipeline.nodes.iter().map(|node| (node.name.as_str(), node.replicas)));
    let state = args.state.clone().unwrap_or_else(|| place::default_state(&pipeline));
    let export = ExportOptions::resolve(args.otlp.as_deref(), &|name| std::env::var(name).ok())
        .map_err(|error| Failure::Usage(error.into()))?;
    let options = Options {
        state: match (args.ephemeral, args.fresh) {
            (true, _) => StateChoice::Ephemeral,
            (_, true) => StateChoice::Fresh(state),
            _ => StateChoice::Keep(state),
        },
        attach: Vec::new(),
        export,
        guard: std::env::current_exe().context("the path of this program is not known")?,
    };
    let one = |error| Failure::Run(vec![error]);
    let (service, lines) = Service::prepare(pipeline, options).await.map_err(one)?;
    let log = tokio::spawn(write_logs(lines, node_log));
    let started = service.start().await;
    let ended = match started {
        Ok(handle) => Ok(watch(handle).await?),
        Err(errors) => Err(Failure::Run(errors)),
    };
    // Ends with the last process.
    let _ = log.await;
    let ended = ended?;
    eprintln!("{:#?}", ended.status);
    match ended.failure {
        Some(error) => Err(one(error)),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn watch(mut handle: Handle) -> Result<Ended, Failure> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut signals = 0;
    loop {
        tokio::select! {
            ended = handle.ended() => return Ok(ended),
            _ = async { tokio::select! { signal = interrupt.recv() => signal, signal = terminate.recv() => signal } } => {
                signals += 1;
                if signals == 2 {
                    std::process::exit(exit::INTERRUPTED.into());
                }
                tracing::info!("draining; a second signal stops at once");
                handle.drain();
            }
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    Ok(signal(kind).context("signals cannot be caught")?)
}

async fn write_logs(mut lines: LogReceiver, log: NodeLog) {
    while let Some(line) = lines.recv().await {
        // There is nobody left to tell that the log cannot be written.
        let _ = log.write(&line.node, line.replica, line.stream, &line.text, line.dropped);
    }
}
