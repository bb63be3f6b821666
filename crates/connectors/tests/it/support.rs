//! A node under test: its context, and the coordinator's side of its channels.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use meshloom_config::{
    Command, ExecSpec, Upstream,
    exec::{Envelope, ExecCwd, ExecFormat, ExecInput, ExecMode},
};
use meshloom_connectors::{
    Environment, LogLine, NodeError, OpenContext, Opened, ProcessNode, SourceNode, TokioSpawner,
};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    exchange::{Failure, FromNode, FromSource, NotAccepted, ToNode, ToSource, Work, WorkResult},
    graph::Port,
    ids::Uid,
    outputs::{NodeIdentity, Ordinals},
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Longest wait of any test for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never came")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A folder, a context, and the node's log.
pub(crate) struct Bench {
    _root: tempfile::TempDir,
    pub(crate) context: OpenContext,
    log: mpsc::Receiver<LogLine>,
}

impl Bench {
    pub(crate) fn new(upstreams: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (log, lines) = mpsc::channel(10_000);
        let context = OpenContext {
            pipeline: "p".into(),
            node: "n".into(),
            replica: 0,
            replicas: 1,
            upstreams: upstreams.iter().map(ToString::to_string).collect(),
            dir: root.path().join("node"),
            state_dir: root.path().join("state"),
            config_dir: root.path().to_owned(),
            checkpoint: None,
            max_event: 1 << 20,
            timeout: Duration::from_secs(20),
            concurrency: None,
            environment: Environment::default(),
            log,
            spawner: Arc::new(TokioSpawner),
        };
        std::fs::create_dir(&context.dir).unwrap();
        Self { _root: root, context, log: lines }
    }

    /// Writes a file into the node's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.context.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.context.dir.join(name)).unwrap()
    }

    /// The next log line that holds these words.
    pub(crate) async fn logged(&mut self, words: &str) -> LogLine {
        within(async {
            loop {
                let line = self.log.recv().await.expect("the log has ended");
                if line.line.contains(words) {
                    return line;
                }
            }
        })
        .await
    }

    pub(crate) fn node<'a>(&self, spec: impl Into<meshloom_connectors::Spec<'a>>) -> NodeRun {
        match meshloom_connectors::open(spec, &self.context).unwrap() {
            Opened::Node(node) => NodeRun::start(node),
            Opened::Source(_) => panic!("a source"),
        }
    }

    pub(crate) fn source<'a>(&self, spec: impl Into<meshloom_connectors::Spec<'a>>) -> SourceRun {
        match meshloom_connectors::open(spec, &self.context).unwrap() {
            Opened::Source(source) => SourceRun::start(source),
            Opened::Node(_) => panic!("not a source"),
        }
    }

    pub(crate) fn refused<'a>(&self, spec: impl Into<meshloom_connectors::Spec<'a>>) -> NodeError {
        match meshloom_connectors::open(spec, &self.context) {
            Ok(_) => panic!("it was opened"),
            Err(error) => {
                assert!(!error.remedy.is_empty(), "no remedy: {error}");
                error
            }
        }
    }
}

/// An adapted program.
pub(crate) fn exec(mode: ExecMode, command: &[&str]) -> ExecSpec {
    ExecSpec {
        command: Command { program: command[0].into(), args: command[1..].iter().map(ToString::to_string).collect() },
        mode,
        inputs: Vec::new(),
        output: None,
        cwd: ExecCwd::Dir,
        format: ExecFormat::Ndjson,
        envelope: Envelope::Data,
        every: None,
        keep_failed: false,
    }
}

pub(crate) fn input(upstream: &str, file: &str) -> ExecInput {
    ExecInput { upstream: Upstream { node: upstream.into(), port: Port::Main }, file: file.into() }
}

/// A batch with uids 1, 2, 3, ...
pub(crate) fn batch(payloads: &[&str]) -> Batch {
    batch_from(&payloads.iter().map(|payload| (None, *payload)).collect::<Vec<_>>())
}

/// The same with upstreams.
pub(crate) fn batch_from(events: &[(Option<&str>, &str)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (n, (from, payload)) in events.iter().enumerate() {
        let uid = Uid::from_bytes((n as u128 + 1).to_be_bytes());
        let id = format!("id-{}", n + 1);
        let event =
            Event { payload: payload.as_bytes(), uid: Some(uid), id: Some(&id), from: *from, ..Event::default() };
        builder.push(event).unwrap();
    }
    builder.finish()
}

/// A transform or sink that runs.
pub(crate) struct NodeRun {
    to: Option<mpsc::Sender<ToNode>>,
    from: mpsc::Receiver<FromNode>,
    task: JoinHandle<Result<(), NodeError>>,
    sent: Vec<(u64, Batch)>,
    early: Vec<WorkResult>,
}

/// All results of a work.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// Parent and payload of each output.
    pub(crate) outputs: Vec<(Option<u32>, String)>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) consumed: u32,
    /// How many results it came in.
    pub(crate) results: usize,
}

impl Whole {
    pub(crate) fn reason(&self) -> &str {
        assert_eq!(self.failures.len(), 1, "{self:?}");
        &self.failures[0].reason
    }

    pub(crate) fn message(&self) -> &str {
        &self.failures[0].message
    }

    pub(crate) fn payloads(&self) -> Vec<&str> {
        self.outputs.iter().map(|(_, payload)| payload.as_str()).collect()
    }
}

impl NodeRun {
    fn start(node: Box<dyn ProcessNode>) -> Self {
        let (to, input) = mpsc::channel(16);
        let (output, from) = mpsc::channel(16);
        let task = tokio::spawn(node.run(input, output));
        Self { to: Some(to), from, task, sent: Vec::new(), early: Vec::new() }
    }

    pub(crate) async fn send(&mut self, sequence: u64, batch: &Batch) {
        self.send_attempt(sequence, batch, 1).await;
    }

    pub(crate) async fn send_attempt(&mut self, sequence: u64, batch: &Batch, attempt: u32) {
        let attempts = (attempt > 1).then(|| vec![attempt; batch.len()].into());
        let work = Work { sequence, batch: batch.clone(), attempts, timeout: None };
        self.sent.push((sequence, batch.clone()));
        self.to.as_ref().unwrap().send(ToNode::Work(work)).await.unwrap();
    }

    pub(crate) async fn cancel(&mut self, sequence: u64) {
        let cancel = ToNode::Cancel { sequence, reason: "test".into() };
        self.to.as_ref().unwrap().send(cancel).await.unwrap();
    }

    /// One work and its whole answer.
    pub(crate) async fn ask(&mut self, sequence: u64, batch: &Batch) -> Whole {
        self.send(sequence, batch).await;
        self.answer(sequence).await
    }

    /// Whatever it says next.
    pub(crate) async fn said(&mut self) -> FromNode {
        within(self.from.recv()).await.expect("the node has ended")
    }

    /// The next result of a work.
    pub(crate) async fn result(&mut self, sequence: u64) -> WorkResult {
        if let Some(at) = self.early.iter().position(|result| result.sequence == sequence) {
            return self.early.remove(at);
        }
        within(async {
            loop {
                match self.from.recv().await.expect("the node has ended") {
                    FromNode::Result(result) if result.sequence == sequence => return result,
                    FromNode::Result(result) => self.early.push(result),
                    FromNode::Limits(_) | FromNode::Progress(_) => {}
                }
            }
        })
        .await
    }

    pub(crate) async fn answer(&mut self, sequence: u64) -> Whole {
        let batch = self.sent.iter().rev().find(|(sent, _)| *sent == sequence).unwrap().1.clone();
        let (mut whole, mut ordinals) = (Whole::default(), Ordinals::default());
        loop {
            let result = self.result(sequence).await;
            whole.results += 1;
            if let Some(outputs) = result.outputs {
                let answer = outputs.apply(&batch, &NodeIdentity::new("p", "n", false), ordinals).unwrap();
                ordinals = answer.ordinals;
                for row in 0..answer.batch.len() {
                    let payload = String::from_utf8(answer.batch.payload(row).to_vec()).unwrap();
                    whole.outputs.push((answer.parents.get(row), payload));
                }
                whole.batches.push(answer.batch);
            }
            whole.failures.extend(result.failures);
            if result.last {
                whole.consumed = result.consumed;
                return whole;
            }
        }
    }

    /// Half-closes and waits for the end.
    pub(crate) async fn finish(mut self) -> Result<(), NodeError> {
        self.to = None;
        while within(self.from.recv()).await.is_some() {}
        within(self.task).await.unwrap()
    }
}

/// A source that runs.
pub(crate) struct SourceRun {
    to: Option<mpsc::Sender<ToSource>>,
    from: mpsc::Receiver<FromSource>,
    task: JoinHandle<Result<(), NodeError>>,
    pub(crate) replays: bool,
}

/// A frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) batch: Batch,
    pub(crate) checkpoint: Option<Bytes>,
}

impl Frame {
    pub(crate) fn payloads(&self) -> Vec<String> {
        let rows = 0..self.batch.len();
        rows.map(|row| String::from_utf8(self.batch.payload(row).to_vec()).unwrap()).collect()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        (0..self.batch.len()).map(|row| self.batch.id(row).unwrap().to_owned()).collect()
    }
}

impl SourceRun {
    pub(crate) fn start(source: Box<dyn SourceNode>) -> Self {
        let (to, input) = mpsc::channel(16);
        let (output, from) = mpsc::channel(16);
        let replays = source.replays();
        Self { to: Some(to), from, task: tokio::spawn(source.run(input, output)), replays }
    }

    pub(crate) async fn demand(&self, events: u64, bytes: u64) {
        self.to.as_ref().unwrap().send(ToSource::Demand { events, bytes }).await.unwrap();
    }

    pub(crate) async fn settle(&self, sequence: u64) {
        let settled = ToSource::Settled { sequence, checkpoint: None };
        // An exhausted source has ended and need not hear it.
        let _ = self.to.as_ref().unwrap().send(settled).await;
    }

    pub(crate) async fn refuse(&self, sequence: u64, why: NotAccepted) {
        self.to.as_ref().unwrap().send(ToSource::Refused { sequence, why }).await.unwrap();
    }

    pub(crate) async fn stop(&self) {
        self.to.as_ref().unwrap().send(ToSource::Stop).await.unwrap();
    }

    /// Ends the channel to it.
    pub(crate) fn close(&mut self) {
        self.to = None;
    }

    /// The next frame; `None`: it is exhausted, or has ended.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        match within(self.from.recv()).await? {
            FromSource::Produced { sequence, batch, checkpoint } => Some(Frame { sequence, batch, checkpoint }),
            FromSource::Exhausted => None,
        }
    }

    /// Whether it stays silent although it has been given time to speak.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.from.recv()).await.is_err()
    }

    /// All payloads up to the end.
    pub(crate) async fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            all.extend(frame.payloads());
            self.settle(frame.sequence).await;
        }
        all
    }

    pub(crate) async fn ended(mut self) -> Result<(), NodeError> {
        self.to = None;
        within(self.task).await.unwrap()
    }

    /// Waits for its end without ending it.
    pub(crate) async fn end(self) -> Result<(), NodeError> {
        let _open = self.to;
        within(self.task).await.unwrap()
    }
}
