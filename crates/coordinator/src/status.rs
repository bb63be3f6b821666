//! The state of a pipeline, in the words of the admin service.

use std::{sync::atomic::Ordering, time::Duration};

use meshloom_config::{NodeKind, NodeSpec, Pipeline};
use meshloom_journal::Meter;
use meshloom_proto::v1;

use crate::{
    flow::Budget,
    phase::Phase,
    wiring::{EdgeView, NodeView, Place},
};

/// Everything that can be looked at.
pub(crate) struct Views {
    pub(crate) started: std::time::SystemTime,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) edges: Vec<EdgeView>,
    pub(crate) budget: Budget,
    pub(crate) memory: u64,
    /// The journal's figures, and the bytes that it may have.
    pub(crate) journal: Option<(Meter, u64)>,
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
            edges: self.edges.iter().map(edge).collect(),
            memory_used_bytes: self.budget.used(),
            memory_budget_bytes: self.memory,
            journal: self.journal(),
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
                })
                .collect(),
            ..v1::NodeStatus::default()
        };
        match &view.place {
            Place::Source(books) => {
                let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
                status.received = load(&books.accepted);
                status.produced = status.received;
                status.settled = load(&books.settled);
                status.exhausted = books.exhausted.load(Ordering::Relaxed);
            }
            Place::Node(books) => {
                let page = books.snapshot();
                for (replica, works) in status.replicas.iter_mut().zip(&page.works) {
                    replica.works = *works;
                }
                status.received = page.books.received;
                status.answered = page.books.answered;
                status.consumed = page.books.consumed;
                status.retried = page.books.retried;
                status.dead_lettered = page.books.dead_lettered;
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

fn edge(view: &EdgeView) -> v1::EdgeStatus {
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    v1::EdgeStatus {
        from: view.label.to_string(),
        to: view.to.to_string(),
        produced: load(&view.books.produced),
        skipped: load(&view.books.skipped),
        dropped: load(&view.books.dropped),
        queued: view.queued(),
        received: load(&view.books.received),
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
