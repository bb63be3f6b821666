//! `meshloom run`.

mod admin;
mod attach;
mod progress;
mod report;
mod screen;
mod summary;

use std::{
    io::{IsTerminal, stderr, stdout},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::builder::FalseyValueParser;
use meshloom_config::{ConnectorSpec, NodeKind, Pipeline};
use meshloom_coordinator::{AdminPort, Ended, Handle, LogReceiver, Options, RunError, Service, StateChoice};
use meshloom_journal::storage::Folders;
use meshloom_telemetry::{
    export::ExportOptions,
    logs::{self, NodeLog, SharedWriter},
};

use self::{
    attach::Attach,
    screen::Screen,
    summary::{Outcome, Run},
};
use super::{LogFormat, Output};
use crate::{
    books::Rates,
    failure::{Failure, exit},
    place::{self, PipelineFile},
    runtime, saved_traces,
    signals::Signals,
    size, terminal, text,
};

/// Time between two looks at the books.
const TICK: Duration = Duration::from_millis(100);

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
    /// Keep no state: positions, dead letters and traces go with the run
    #[arg(long)]
    ephemeral: bool,
    /// Give up the accepted events that the journal still holds of this source; may be repeated
    #[arg(long, value_name = "SOURCE")]
    discard_journal: Vec<String>,
    /// Send traces to this collector or Jaeger (OTLP over gRPC); OTEL_EXPORTER_OTLP_* are followed too
    #[arg(long, value_name = "URL", env = "MESHLOOM_OTLP")]
    otlp: Option<String>,
    /// Serve metrics for Prometheus at http://HOST:PORT/metrics; port 0 takes a free one and says which. An address that
    /// is not loopback needs the secret in MESHLOOM_ADMIN_TOKEN, which requests then carry as a bearer token
    #[arg(long, value_name = "HOST:PORT", value_parser = admin::parse, env = "MESHLOOM_ADMIN")]
    admin: Option<SocketAddr>,
    /// Memory for the newest traces; 2 KiB hold a trace of a few hops
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = size::parse, env = "MESHLOOM_TRACE_MEMORY")]
    trace_memory: usize,
    /// Use a node that was started by hand instead of spawning it; may be repeated
    #[arg(long, value_name = "NODE=ADDRESS", value_parser = attach::parse)]
    attach: Vec<Attach>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_LOG_FORMAT")]
    log_format: LogFormat,
    /// Which log lines: a level (error, warn, info, debug, trace) or TARGET=LEVEL, separated by commas
    #[arg(long, value_name = "FILTER", default_value = "info", env = "MESHLOOM_LOG")]
    log: String,
    /// Exit with 3 if events became dead letters
    #[arg(long, env = "MESHLOOM_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    /// How the summary is printed: for a person on standard error, or as JSON on standard output
    #[arg(long, value_enum, default_value_t, env = "MESHLOOM_OUTPUT")]
    output: Output,
    /// Show no live display
    #[arg(long, env = "MESHLOOM_NO_PROGRESS", value_parser = FalseyValueParser::new())]
    no_progress: bool,
}

pub(crate) fn main(args: Args, folders: Arc<dyn Folders>) -> Result<ExitCode, Failure> {
    let pipeline = args.file.load()?;
    runtime::block_on(run(args, pipeline, folders))?
}

async fn run(args: Args, pipeline: Pipeline, folders: Arc<dyn Folders>) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let screen = Screen::new(wants_progress(&args, &pipeline));
    let ran = attend(&args, pipeline, folders, &screen, &mut signals).await;
    screen.close();
    let (ended, elapsed, stopped) = ran?;
    let outcome = match (&ended.failure, stopped) {
        (Some(_), _) => Outcome::Failed,
        (None, true) => Outcome::Stopped,
        (None, false) => Outcome::Done,
    };
    match args.output {
        Output::Human => {
            let list_letters = (!args.ephemeral).then(|| list_command(&args));
            eprint!("{}", summary::render(&Run { ended: &ended, outcome, elapsed, list_letters }));
        }
        Output::Json => println!("{}", report::ended(&ended, outcome, elapsed)),
    }
    if let Some(error) = ended.failure {
        return Err(Failure::Run(vec![error]));
    }
    let strictly = args.strict && !ended.dead_letters.is_empty();
    Ok(if strictly { ExitCode::from(exit::DEAD_LETTERS) } else { ExitCode::SUCCESS })
}

/// From the first log line to the last. Returns how the run ended, how long it took, and whether it was told to stop.
async fn attend(
    args: &Args,
    pipeline: Pipeline,
    folders: Arc<dyn Folders>,
    screen: &Screen,
    signals: &mut Signals,
) -> Result<(Ended, Duration, bool), Failure> {
    let node_log = start_logs(args, &pipeline, screen)?;
    let state = args.state.clone().unwrap_or_else(|| place::default_state(&pipeline));
    let options = options(args, state, folders)?;
    let name = pipeline.name.clone();
    let not_started = |errors: Vec<RunError>| {
        if args.output == Output::Json {
            println!("{}", report::not_started(&name, &errors));
        }
        Failure::Run(errors)
    };
    let (service, log) = Service::prepare(pipeline, options).await.map_err(|error| not_started(vec![error]))?;
    let log = tokio::spawn(write_logs(log, node_log));
    let started = tokio::select! {
        started = start(service, screen) => started.map_err(not_started),
        () = signals.next() => Err(Failure::Interrupted("before all nodes were up")),
    };
    let watched = match started {
        Ok(handle) => watch(handle, screen, signals, args.ephemeral).await,
        Err(failure) => Err(failure),
    };
    if !matches!(watched, Err(Failure::Interrupted(_))) {
        // Ends with the last process; what it said belongs above the summary.
        let _ = log.await;
    }
    watched
}

/// Not where a display would only be noise, or stand between the lines of a `stdout` sink.
fn wants_progress(args: &Args, pipeline: &Pipeline) -> bool {
    let data_on_terminal = stdout().is_terminal()
        && pipeline.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Use(ConnectorSpec::Stdout(_))));
    let human = args.log_format == LogFormat::Human && !args.no_progress;
    human && !data_on_terminal && stderr().is_terminal() && terminal::moves_cursor()
}

fn start_logs(args: &Args, pipeline: &Pipeline, screen: &Screen) -> Result<NodeLog, Failure> {
    let format = args.log_format.on_stderr();
    let writer = SharedWriter::new(screen.clone());
    logs::init(format, &args.log, &writer).map_err(|error| Failure::Usage(error.into()))?;
    let nodes = pipeline.nodes.iter().map(|node| (node.name.as_str(), node.replicas));
    Ok(NodeLog::new(format, writer, nodes))
}

fn options(args: &Args, state: PathBuf, folders: Arc<dyn Folders>) -> Result<Options, Failure> {
    Ok(Options {
        state: match (args.ephemeral, args.fresh) {
            (true, _) => StateChoice::Ephemeral,
            (_, true) => StateChoice::Fresh(state),
            _ => StateChoice::Keep(state),
        },
        folders,
        discard_journal: args.discard_journal.clone(),
        attach: args.attach.iter().map(|attach| (attach.node.clone(), attach.address.clone())).collect(),
        export: ExportOptions::resolve(args.otlp.as_deref(), &|name| std::env::var(name).ok())
            .map_err(|error| Failure::Usage(error.into()))?,
        admin: args.admin.map(|address| AdminPort { address, token: admin::token(|name| std::env::var(name).ok()) }),
        trace_bytes: args.trace_memory,
        guard: std::env::current_exe()
            .context("the path of this program is not known, and its guards cannot be started; is /proc mounted?")?,
    })
}

async fn start(service: Service, screen: &Screen) -> Result<Handle, Vec<RunError>> {
    let started = service.start();
    tokio::pin!(started);
    let since = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            started = &mut started => return started,
            _ = tick.tick() => {
                screen.show(&[format!("starting the nodes for {}", text::clock(since.elapsed()))]);
            }
        }
    }
}

/// Shows a run until it ends.
async fn watch(
    mut handle: Handle,
    screen: &Screen,
    signals: &mut Signals,
    ephemeral: bool,
) -> Result<(Ended, Duration, bool), Failure> {
    let since = Instant::now();
    let (traces, state) = (handle.traces().clone(), handle.state_dir().to_owned());
    let mut stopped = false;
    let mut rates = Rates::default();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            ended = handle.ended() => break ended,
            _ = tick.tick(), if screen.is_live() => {
                let status = handle.status();
                let rates = rates.look(&status, Instant::now());
                screen.show(&progress::lines(&status, &rates, since.elapsed()));
            }
            () = signals.next() => {
                if stopped {
                    return Err(Failure::Interrupted("by a second signal; what had not settled will be redelivered by the next run"));
                }
                stopped = true;
                tracing::info!("draining: sources stop, events in the pipeline finish; a second signal stops at once");
                handle.drain();
            }
        }
    };
    let elapsed = since.elapsed();
    if !ephemeral && let Err(error) = saved_traces::save(&state, &traces) {
        tracing::warn!("the newest traces could not be kept for `meshloom trace`: {error:#}");
    }
    Ok((ended, elapsed, stopped))
}

async fn write_logs(mut lines: LogReceiver, log: NodeLog) {
    while let Some(line) = lines.recv().await {
        // There is nobody left to tell that the log cannot be written.
        let _ = log.write(&line.node, line.replica, line.stream, &line.text, line.dropped);
    }
}

/// The command that lists what this run could not handle.
fn list_command(args: &Args) -> String {
    let mut command = "meshloom dead-letters list".to_owned();
    if let Some(state) = &args.state {
        command += &format!(" --state {}", text::quoted(&state.to_string_lossy()));
    } else if let Some(file) = args.file.named() {
        command += &format!(" {}", text::quoted(&file.to_string_lossy()));
    }
    command
}
