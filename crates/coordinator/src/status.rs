//! The state of a pipeline, in the words of the admin service.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use meshloom_config::{NodeKind, NodeSpec, Pipeline};
use meshloom_core::machine::{Condition, Standstill};
use meshloom_journal::Meter;
use meshloom_proto::v1;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    flow::Budget,
    phase::Phase,
    state::{Holding, LettersWaiting, timestamp},
    wiring::{EdgeView, NodeView, Place},
};

/// Everything that can be looked at.
pub(crate) struct Views {
    pub(crate) started: std::time::SystemTime,
    pub(crate) clock: Clock,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) edges: Vec<EdgeView>,
    /// Of replays; shown where there was one.
    pub(crate) replayed: Vec<EdgeView>,
    pub(crate) budget: Budget,
    pub(crate) memory: u64,
    /// The journal's figures, and the bytes that it may have.
    pub(crate) journal: Option<(Meter, u64)>,
    pub(crate) letters: watch::Receiver<Holding>,
    pub(crate) letters_waiting: Arc<LettersWaiting>,
}

impl Views {
    /// The state now.
    pub(crate) fn status(&self, pipeline: &Pipeline, phase: v1::PipelinePhase) -> v1::PipelineStatus {
        v1::PipelineStatus {
            pipeline: pipeline.name.clone(),
            pid: std::process::id(),
            started: Some(self.started.into()),
            phase: phase.into(),
            nodes: pipeline.nodes.iter().zip(&self.nodes).map(|(spec, view)| self.node(spec, view)).collect(),
            edges: self.edges.iter().chain(self.replayed.iter().filter(|view| view.is_used())).map(edge).collect(),
            memory_used_bytes: self.budget.used(),
            memory_budget_bytes: self.memory,
            journal: self.journal(),
            dead_letters: Some(self.dead_letters()),
        }
    }

    fn dead_letters(&self) -> v1::DeadLetterStatus {
        let Holding { letters, bytes, max_bytes } = *self.letters.borrow();
        v1::DeadLetterStatus {
            letters,
            bytes,
            size_bytes: max_bytes,
            waiting: self.letters_waiting.letters.load(Ordering::Relaxed),
            full: self.letters_waiting.full.load(Ordering::Relaxed),
        }
    }

    fn journal(&self) -> Option<v1::JournalStatus> {
        let (meter, limit_bytes) = self.journal.as_ref()?;
        let stats = meter.stats();
        let sources = self.nodes.iter().filter_map(|view| match &view.place {
            Place::Source(books) => Some(books.trouble()),
            Place::Node(_) => None,
        });
        Some(v1::JournalStatus {
            bytes: stats.bytes,
            limit_bytes: *limit_bytes,
            segments: stats.segments as u64,
            open_frames: stats.open,
            commits: stats.commits,
            commit_time: duration(Duration::from_micros(stats.commit_micros)),
            problems: sources.filter(|trouble| !trouble.is_empty()).collect(),
        })
    }

    fn node(&self, spec: &NodeSpec, view: &NodeView) -> v1::NodeStatus {
        let boards: Vec<_> = view.replicas.iter().map(crate::replica::ReplicaBoard::read).collect();
        let mut status = v1::NodeStatus {
            name: spec.name.clone(),
            kind: match &spec.kind {
                NodeKind::Use(connector) => format!("use:{}", connector.name()),
                kind => kind.key().to_owned(),
            },
            restarts: boards.iter().map(|board| board.restarts).sum(),
            replicas: boards
                .into_iter()
                .enumerate()
                .map(|(index, board)| v1::ReplicaStatus {
                    index: index as u32,
                    state: board.state.to_owned(),
                    pid: board.pid,
                    sdk: board.sdk,
                    works: 0,
                    last_error: board.last_error,
                    breaker: String::new(),
                    oldest_call: None,
                })
                .collect(),
            ..v1::NodeStatus::default()
        };
        match &view.place {
            Place::Source(books) => {
                status.received = books.accepted();
                status.produced = status.received;
                status.settled = books.settled();
                status.exhausted = books.exhausted.load(Ordering::Relaxed);
            }
            Place::Node(books) => {
                let page = books.snapshot();
                let into = self.edges.iter().chain(&self.replayed).filter(|edge| *edge.to == *spec.name);
                let refused: u64 = into.map(|edge| edge.books.refused.load(Ordering::Relaxed)).sum();
                let now = self.clock.now();
                for (replica, known) in status.replicas.iter_mut().zip(&page.replicas) {
                    replica.works = known.works;
                    replica.breaker = known.breaker.as_str().to_owned();
                    replica.oldest_call = known.oldest_call.and_then(|began| duration(now - began));
                }
                status.condition = page.condition.map(condition);
                status.received = page.books.received + refused;
                status.answered = page.books.answered;
                status.consumed = page.books.consumed;
                status.retried = page.books.retried;
                status.dead_lettered = page.books.dead_lettered + refused;
                status.in_hand = page.books.in_hand;
                status.waiting = page.books.waiting;
                status.produced = page.books.produced;
                status.busy = duration(page.times.busy);
                status.handler_p50 = duration(page.handler_p50);
                status.handler_p99 = duration(page.handler_p99);
                status.waiting_for_work = duration(page.times.waiting_for_work);
                status.waiting_for_replica = duration(page.times.waiting_for_replica);
                status.waiting_below = duration(page.times.waiting_below);
                status.rate = page.rate;
            }
        }
        status
    }
}

fn condition(condition: Condition) -> v1::NodeCondition {
    let standstill = match condition.standstill {
        Standstill::Probing => v1::Standstill::Probing,
        Standstill::Outage => v1::Standstill::Outage,
        Standstill::Paused => v1::Standstill::Paused,
    };
    v1::NodeCondition {
        standstill: standstill.into(),
        since: Some(timestamp(condition.since.0)),
        reason: condition.reason.into_owned(),
        message: condition.message,
        uid: condition.uid.map(|uid| uid.as_bytes().to_vec()).unwrap_or_default().into(),
    }
}

pub(crate) fn edge(view: &EdgeView) -> v1::EdgeStatus {
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    v1::EdgeStatus {
        from: view.label.to_string(),
        to: view.to.to_string(),
        produced: load(&view.books.produced),
        skipped: load(&view.books.skipped),
        dropped: load(&view.books.dropped),
        queued: view.queued(),
        received: view.received(),
        queued_bytes: view.room.used().1,
    }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

impl From<Phase> for v1::PipelinePhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Draining | Phase::Abandoned => Self::Draining,
        }
    }
}
