//! One run of a pipeline, from start to its end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use meshloom_config::{Pipeline, suggest};
use meshloom_journal::storage::Folders;
use meshloom_proto::v1;
use meshloom_telemetry::{Traces, receiver, traces};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    builds::build,
    clock::{Clock, sleep_until},
    error::RunError,
    flow::{Budget, LetterDesk},
    metrics,
    options::{Options, StateChoice, Token},
    phase::Phase,
    process::{LogReceiver, Processes, log_channel},
    replay::Replayer,
    replica::Host,
    state::{
        Checkpoints, LetterStore, LettersWaiting, OpenJournal, Opened, SharedLetters, StateDir, Stored, run_letters,
    },
    status::Views,
    wiring::{self, Commons, Place, Wired},
};

/// Log lines of nodes that may wait to be written.
const LOG_LINES: usize = 4096;
/// Time for those who ask the admin service to hang up.
const GOODBYE: Duration = Duration::from_secs(2);
/// Time for the last spans to reach the collector.
const FLUSH: Duration = Duration::from_secs(5);

/// A pipeline that is about to run.
pub struct Service {
    pipeline: Arc<Pipeline>,
    state: StateDir,
    folders: Arc<dyn Folders>,
    host: Arc<Host>,
    traces: Traces,
    attach: Vec<(String, meshloom_config::spec::Address)>,
    discard_journal: Vec<String>,
    otlp: JoinHandle<()>,
    sockets: tempfile::TempDir,
    admin_port: Option<(TcpListener, Option<Token>)>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The books at the end.
    pub status: v1::PipelineStatus,
    /// Why it ended before its time.
    pub failure: Option<RunError>,
    /// Durable events that were accepted, have not settled, and will be read again by the next run.
    pub redelivered_next_time: u64,
    /// Dead letters that this run has stored.
    pub dead_letters: Vec<LetterCount>,
    /// The sources that went on from a position.
    pub resumed: Vec<Resumed>,
}

/// Dead letters of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterCount {
    /// The node at which the events failed.
    pub node: String,
    /// Why: a stable code.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A source that went on from a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The source.
    pub node: String,
    /// Events settled below the position, over all earlier runs.
    pub settled: u64,
    /// When the position was written.
    pub written: SystemTime,
}

/// A running pipeline.
pub struct Handle {
    shared: Arc<Shared>,
    ended: JoinHandle<Ended>,
}

/// What the admin service and the handle have in common.
pub(crate) struct Shared {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) views: Views,
    pub(crate) traces: Traces,
    pub(crate) state_dir: std::path::PathBuf,
    pub(crate) letters: SharedLetters,
    pub(crate) replayer: Replayer,
    /// Nodes that were started by hand.
    pub(crate) attached: HashSet<String>,
    phase: watch::Sender<Phase>,
    draining: CancellationToken,
}

impl Service {
    /// Takes the state directory and makes everything that nodes need to start. Returns the nodes' log beside it.
    ///
    /// # Errors
    /// The state cannot be used, `attach` names no node, or the system refuses a socket.
    pub async fn prepare(pipeline: Pipeline, options: Options) -> Result<(Self, LogReceiver), RunError> {
        for (name, _) in &options.attach {
            check_attach(&pipeline, name)?;
        }
        outlive_the_file_size_limit().map_err(no_socket)?;
        let state = open_state(&options.state)?;
        let admin_port = match &options.admin {
            Some(port) => Some((metrics::bind(port).await?, port.token.clone())),
            None => None,
        };
        let traces = Traces::start(traces::Options { store_bytes: options.trace_bytes, export: options.export });
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(no_socket)?;
        let otlp_address = listener.local_addr().map_err(no_socket)?;
        let stop = CancellationToken::new();
        let otlp = tokio::spawn({
            let (traces, stop) = (traces.clone(), stop.clone());
            async move {
                if let Err(error) = receiver::serve(listener, traces, stop.cancelled_owned()).await {
                    tracing::warn!("spans of nodes are no longer received: {error}");
                }
            }
        });
        // A socket's path has 108 bytes, which a state directory soon uses up.
        let sockets = tempfile::Builder::new().prefix("meshloom-").tempdir().map_err(no_socket)?;
        let (logs, log) = log_channel(LOG_LINES);
        let pipeline = Arc::new(pipeline);
        let (_, rest) = wiring::memory(&pipeline);
        let host = Arc::new(Host {
            pipeline: pipeline.clone(),
            processes: Processes::new(options.guard, state.path(), logs.clone()),
            logs,
            sockets: sockets.path().to_owned(),
            state_dir: state.path().to_owned(),
            otlp: otlp_address,
            budget: Budget::new(rest),
            clock: Clock::new(),
            draining: CancellationToken::new(),
            stop,
        });
        let Options { attach, discard_journal, folders, .. } = options;
        Ok((Self { pipeline, state, folders, host, traces, attach, discard_journal, otlp, sockets, admin_port }, log))
    }

    /// Builds and starts every node; returns once events flow.
    ///
    /// # Errors
    /// All that kept nodes from starting. Nothing is left behind.
    pub async fn start(self) -> Result<Handle, Vec<RunError>> {
        let Self { pipeline, state, folders, host, traces, attach, discard_journal, otlp, sockets, admin_port } = self;
        // A run that does not start leaves no port open.
        let stop = host.stop.clone().drop_guard();
        let served = metrics::Served::default();
        let http =
            admin_port.map(|(listener, token)| metrics::serve(listener, token, served.clone(), host.stop.clone()));
        build(&pipeline.nodes, &host.processes).await.map_err(|error| vec![error])?;
        let one = |error: RunError| vec![error];
        let checkpoints = Checkpoints::open(&*folders, state.path()).map_err(|error| one(error.into()))?;
        let positions = read_positions(&pipeline, &checkpoints).map_err(one)?;
        let journal = OpenJournal::open(&folders, state.path(), &pipeline, &discard_journal).await?;
        let (store, opened) = LetterStore::open_in(&*folders, state.path(), pipeline.dead_letters_bytes)
            .map_err(|error| one(error.into()))?;
        tell_of(opened);
        let resumed = positions.iter().map(|(node, position)| Resumed {
            node: node.clone(),
            settled: position.settled,
            written: SystemTime::UNIX_EPOCH + Duration::from_nanos(position.written),
        });
        let resumed = resumed.collect();
        let (letters, desk) = LetterDesk::new(host.budget.clone());
        let store = SharedLetters::new(store);
        let letters_waiting = Arc::new(LettersWaiting::default());
        let letters_done = tokio::spawn(run_letters(store.clone(), desk, letters_waiting.clone()));
        let (phase, phases) = watch::channel(Phase::Starting);
        let (fatal, failures) = mpsc::channel(1);
        let attached: HashSet<String> = attach.iter().map(|(name, _)| name.clone()).collect();
        let mut commons = Commons {
            host: host.clone(),
            traces: traces.clone(),
            letters,
            checkpoints,
            positions,
            journal,
            attached: attach.into_iter().collect(),
            phase: phases,
            fatal,
            open_sources: watch::channel(pipeline.nodes.iter().filter(|spec| spec.is_source()).count()).0,
        };
        let Wired { mut actors, mut drivers, starts, nodes, edges, doors, replayed } = wiring::wire(&commons);
        let (desk, phases) = (commons.letters.downgrade(), commons.phase.clone());
        let journal = commons.journal.take();
        drop(commons);
        let mut errors = Vec::new();
        for start in starts {
            match start.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => errors.push(error),
                Err(_) => errors.push(RunError::system("START_FAILED", "a replica's driver ended without a word")),
            }
            if !errors.is_empty() {
                // The others need not get ready any more.
                host.stop.cancel();
            }
        }
        if !errors.is_empty() {
            phase.send_replace(Phase::Abandoned);
            while actors.join_next().await.is_some() {}
            while drivers.join_next().await.is_some() {}
            if let Some(journal) = journal {
                journal.close().await;
            }
            let real = errors.iter().any(|error| error.code != "STOPPED");
            errors.retain(|error| !real || error.code != "STOPPED");
            return Err(errors);
        }
        let memory = wiring::memory(&pipeline).0;
        let shared = Arc::new(Shared {
            views: Views {
                started: SystemTime::now(),
                clock: host.clock,
                nodes,
                edges,
                replayed,
                budget: host.budget.clone(),
                memory,
                letters: store.holding(),
                letters_waiting,
                journal: journal.as_ref().map(OpenJournal::meter),
            },
            pipeline,
            traces,
            state_dir: state.path().to_owned(),
            replayer: Replayer::new(doors, store.clone(), desk, host.budget.clone(), phases),
            letters: store,
            attached,
            phase,
            draining: host.draining.clone(),
        });
        let admin = admin::serve(shared.clone(), sockets.path(), host.stop.clone()).map_err(|error| {
            one(RunError::system("ADMIN_SOCKET", format!("the admin socket cannot be made: {error}")))
        })?;
        // It was empty. Before the phase, so that who sees that the pipeline runs finds its metrics too.
        let _ = served.set(shared.clone());
        shared.phase.send_replace(Phase::Running);
        stop.disarm();
        let run = Run {
            shared: shared.clone(),
            host,
            state,
            sockets,
            actors,
            drivers,
            letters_done,
            journal,
            resumed,
            failures,
            otlp,
            admin,
            http,
        };
        Ok(Handle { shared, ended: tokio::spawn(run.finish()) })
    }
}

impl Handle {
    /// The state now.
    pub fn status(&self) -> v1::PipelineStatus {
        self.shared.status()
    }

    /// The newest traces.
    pub fn traces(&self) -> &Traces {
        &self.shared.traces
    }

    /// Where the run keeps its state.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.shared.state_dir
    }

    /// Stops the sources and lets what is in the pipeline finish, for at most the pipeline's `drain`.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Waits for the end of the run. Safe to cancel.
    pub async fn ended(&mut self) -> Ended {
        match (&mut self.ended).await {
            Ok(ended) => ended,
            Err(error) => Ended {
                status: self.shared.status(),
                failure: Some(RunError::system("INTERNAL", format!("the coordinator failed: {error}"))),
                redelivered_next_time: 0,
                dead_letters: Vec::new(),
                resumed: Vec::new(),
            },
        }
    }
}

impl Shared {
    pub(crate) fn status(&self) -> v1::PipelineStatus {
        self.views.status(&self.pipeline, (*self.phase.borrow()).into())
    }

    /// Where a node stands among the pipeline's.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn find(&self, name: &str) -> Result<usize, tonic::Status> {
        let nodes = &self.pipeline.nodes;
        nodes.iter().position(|node| node.name == name).ok_or_else(|| {
            let near = suggest(name, nodes.iter().map(|node| node.name.as_str()));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            tonic::Status::not_found(format!("the pipeline has no node `{name}`{hint}"))
        })
    }

    /// The state now, as the text of Prometheus.
    pub(crate) fn metrics(&self) -> Result<String, std::fmt::Error> {
        let metrics = metrics::exposition(&self.status(), &self.views, &self.traces.stats());
        metrics.render(&self.pipeline.name)
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn drain(&self) {
        self.draining.cancel();
        self.phase.send_if_modified(|phase| {
            let forward = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            forward
        });
    }
}

/// Everything that has to end in order.
struct Run {
    shared: Arc<Shared>,
    host: Arc<Host>,
    state: StateDir,
    sockets: tempfile::TempDir,
    actors: tokio::task::JoinSet<()>,
    drivers: tokio::task::JoinSet<()>,
    letters_done: JoinHandle<Stored>,
    journal: Option<OpenJournal>,
    resumed: Vec<Resumed>,
    failures: mpsc::Receiver<RunError>,
    otlp: JoinHandle<()>,
    admin: JoinHandle<()>,
    http: Option<JoinHandle<()>>,
}

impl Run {
    async fn finish(mut self) -> Ended {
        let mut failure = None;
        let mut failures_open = true;
        let mut deadline = None;
        let mut phases = self.shared.phase.subscribe();
        loop {
            tokio::select! {
                ended = self.actors.join_next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        failure.get_or_insert(RunError::system("INTERNAL", format!("an actor failed: {error}")));
                        self.shared.phase.send_replace(Phase::Abandoned);
                    }
                    None => break,
                },
                // Drivers come and go with their replicas; one that panicked leaves a replica that nobody would bring back.
                Some(ended) = self.drivers.join_next() => if let Err(error) = ended {
                    failure.get_or_insert(RunError::system("INTERNAL", format!("a replica's driver failed: {error}")));
                    self.shared.phase.send_replace(Phase::Abandoned);
                },
                error = self.failures.recv(), if failures_open => match error {
                    Some(error) => {
                        failure.get_or_insert(error);
                        self.shared.phase.send_replace(Phase::Abandoned);
                    }
                    None => failures_open = false,
                },
                _ = phases.wait_for(|phase| *phase >= Phase::Draining), if deadline.is_none() => {
                    deadline = Some(tokio::time::Instant::now() + self.shared.pipeline.drain);
                }
                () = sleep_until(deadline), if deadline.is_some() => {
                    tracing::warn!("the time to drain ({:?}) is over", self.shared.pipeline.drain);
                    self.shared.phase.send_replace(Phase::Abandoned);
                    deadline = Some(tokio::time::Instant::now() + Duration::from_secs(3600));
                }
            }
        }
        // A replay must not wait for verdicts that nobody will give any more.
        self.shared.phase.send_replace(Phase::Abandoned);
        // Every event has its verdict or was given up; letters become durable before anything is reported.
        let stored = self.letters_done.await.unwrap_or_else(|error| {
            failure.get_or_insert(RunError::system("INTERNAL", format!("the store of dead letters failed: {error}")));
            Stored::new()
        });
        if failure.is_some() {
            self.host.stop.cancel();
        }
        // Nodes end by themselves after the half-close; one that does not is made to.
        if tokio::time::timeout(self.shared.pipeline.drain, all(&mut self.drivers)).await.is_err() {
            self.host.stop.cancel();
            all(&mut self.drivers).await;
        }
        if let Some(journal) = self.journal.take() {
            journal.close().await;
        }
        self.shared.traces.flush(FLUSH).await;
        self.host.stop.cancel();
        // Who still watches must not hold the end up.
        let services = [self.otlp, self.admin].into_iter().chain(self.http);
        let _ = tokio::time::timeout(GOODBYE, futures::future::join_all(services)).await;
        let ended = Ended {
            status: v1::PipelineStatus { phase: v1::PipelinePhase::Ended.into(), ..self.shared.status() },
            failure,
            redelivered_next_time: redelivered(&self.shared.views),
            dead_letters: stored
                .into_iter()
                .map(|((node, reason), count)| LetterCount { node, reason, count })
                .collect(),
            resumed: self.resumed,
        };
        drop((self.sockets, self.state));
        ended
    }
}

fn tell_of(opened: Opened) {
    if opened.cut > 0 {
        tracing::warn!(
            "{} bytes of dead letters that a crash left unfinished were cut; their events come again",
            opened.cut
        );
    }
    if let Some(letters) = opened.converted {
        tracing::info!(
            "{letters} dead letters of an earlier version were taken over; that version cannot read them any more"
        );
    }
}

async fn all(tasks: &mut tokio::task::JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

fn redelivered(views: &Views) -> u64 {
    let sources = views.nodes.iter().filter_map(|view| match &view.place {
        Place::Source(books) => Some(books.redelivered()),
        Place::Node(_) => None,
    });
    sources.sum()
}

/// A file that grows past the limit of this process (`ulimit -f`) is an error to whoever writes it, not the end of the
/// process. A handler, not an ignored signal: commands that are started get the default back when they are executed.
fn outlive_the_file_size_limit() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Registering replaces the default action for as long as the process lives.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn open_state(choice: &StateChoice) -> Result<StateDir, RunError> {
    Ok(match choice {
        StateChoice::Keep(path) => StateDir::open(path)?,
        StateChoice::Ephemeral => StateDir::ephemeral()?,
        StateChoice::Fresh(path) => {
            let (state, aside) = StateDir::fresh(path)?;
            if let Some(aside) = aside {
                tracing::info!("the old state is now {}", aside.display());
            }
            state
        }
    })
}

fn check_attach(pipeline: &Pipeline, name: &str) -> Result<(), RunError> {
    if pipeline.nodes.iter().any(|node| node.name == name) {
        return Ok(());
    }
    let names = || pipeline.nodes.iter().map(|node| node.name.as_str());
    let hint = suggest(name, names()).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    let error = RunError::node(
        name,
        "HANDLER_UNKNOWN",
        format!("`--attach` names a node that the pipeline does not have{hint}"),
    );
    Err(error.with_remedy(format!("its nodes are {}", names().collect::<Vec<_>>().join(", "))))
}

fn read_positions(
    pipeline: &Pipeline,
    checkpoints: &Checkpoints,
) -> Result<HashMap<String, crate::state::Position>, RunError> {
    let mut positions = HashMap::new();
    for spec in pipeline.nodes.iter().filter(|spec| spec.is_source()) {
        if let Some(position) = checkpoints.read(&spec.name)? {
            positions.insert(spec.name.clone(), position);
        }
    }
    for source in checkpoints.sources()? {
        if !positions.contains_key(&source) {
            tracing::warn!(
                "the state holds a position of source `{source}`, which the pipeline no longer has; a renamed source starts over"
            );
        }
    }
    Ok(positions)
}

fn no_socket(error: std::io::Error) -> RunError {
    RunError::system("SOCKET", format!("no socket can be made: {error}"))
}
