//! Where letters enter: at the node at which they failed, at a route that nobody took, or behind a source.

use std::sync::Arc;

use meshloom_config::{EventView, Expression, Pipeline, spec::Overflow};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    graph::Port,
};
use tokio::sync::{Notify, mpsc};

use crate::{
    flow::{Edge, EdgeBooks, Input, Room, Router, event_of},
    state::LetterRecord,
};

/// Events of a replay that may be in a node's queue, beside those of its edges.
pub(crate) const EVENTS: u32 = 256;
/// Bytes of them.
const BYTES: u64 = 4 << 20;
/// How a replay is called as an upstream: no node can have this name.
const LABEL: &str = "(replay)";

/// The place at a node that is kept for replays.
#[derive(Debug, Clone)]
pub(crate) struct ReplayInput {
    pub(crate) node: Arc<str>,
    /// Behind the node's edges.
    pub(crate) index: u32,
    pub(crate) to: mpsc::Sender<Input>,
    pub(crate) room: Arc<Room>,
    pub(crate) books: Arc<EdgeBooks>,
}

impl ReplayInput {
    /// `freed` is told of room, `pressed` when a replay waits for it.
    pub(crate) fn new(
        node: Arc<str>,
        index: usize,
        to: mpsc::Sender<Input>,
        freed: Arc<Notify>,
        pressed: Arc<Notify>,
    ) -> Self {
        let room = Arc::new(Room::new(EVENTS, BYTES, freed, pressed));
        Self { node, index: index as u32, to, room, books: Arc::default() }
    }

    /// How `status` calls it.
    pub(crate) fn label() -> Arc<str> {
        LABEL.into()
    }

    /// An edge to it that does what `edge` does, but for dropping.
    pub(crate) fn twin(&self, edge: &Edge) -> Edge {
        let (label, labels_events, when) = (edge.label.clone(), edge.labels_events, edge.when.clone());
        Edge { label, labels_events, when, ..self.entry() }
    }

    /// An edge to it that asks for nothing.
    pub(super) fn entry(&self) -> Edge {
        Edge {
            index: self.index,
            to_node: self.node.clone(),
            label: LABEL.into(),
            labels_events: false,
            when: None,
            overflow: Overflow::Block,
            to: self.to.clone(),
            room: self.room.clone(),
            books: self.books.clone(),
        }
    }
}

/// What a replay knows of a node.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) name: Arc<str>,
    /// The way in; a source has none.
    pub(super) entry: Vec<Edge>,
    /// The upstreams as the pipeline file writes them.
    upstreams: Vec<Arc<str>>,
    /// The ways out.
    pub(super) router: Router,
    /// Largest event of a source, bytes.
    max_event: u64,
    /// What a source makes keys with.
    key: Option<Expression>,
}

/// The way that an event takes.
#[derive(Debug)]
pub(super) enum Way {
    /// In.
    In(Batch),
    /// Out, by a route or as what has none.
    Out(Batch, Option<String>),
}

impl Door {
    /// Of a node with upstreams.
    pub(super) fn node(
        input: &ReplayInput,
        upstreams: Vec<Arc<str>>,
        outputs: Vec<(Port, Edge)>,
        discards: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            name: input.node.clone(),
            entry: vec![input.entry()],
            upstreams,
            router: Router::new(input.node.clone(), outputs, discards),
            max_event: u64::MAX,
            key: None,
        }
    }

    /// Of a source.
    fn source(
        name: Arc<str>,
        outputs: Vec<(Port, Edge)>,
        discards: impl IntoIterator<Item = String>,
        max_event: u64,
        key: Option<Expression>,
    ) -> Self {
        let router = Router::new(name.clone(), outputs, discards);
        Self { name, entry: Vec::new(), upstreams: Vec::new(), router, max_event, key }
    }

    /// Where the event of a letter goes. The error says why it cannot, and what to do.
    pub(super) fn way(&self, letter: &LetterRecord) -> Result<Way, String> {
        let event = |from: Option<&str>| {
            letter.batch_from(from).ok_or_else(|| "its event cannot be read: the file was changed by hand".to_owned())
        };
        if letter.route.is_some() {
            return Ok(Way::Out(event(None)?, letter.route.clone()));
        }
        if self.entry.is_empty() {
            return Ok(Way::Out(self.admit(event(None)?)?, None));
        }
        match (letter.from.as_deref(), &self.upstreams[..]) {
            (None, [_]) => Ok(Way::In(event(None)?)),
            (Some(from), [only]) if **only == *from => Ok(Way::In(event(None)?)),
            (Some(from), all) if all.iter().any(|label| **label == *from) => Ok(Way::In(event(Some(from))?)),
            (Some(from), _) => {
                Err(format!("`{}` takes nothing from `{from}` any more; wire it again, or export them", self.name))
            }
            (None, all) => Err(format!(
                "they do not say from which of {} they came to `{}`: it had one upstream when they failed; export them",
                all.join(", "),
                self.name
            )),
        }
    }

    /// What a source asks of its events.
    fn admit(&self, batch: Batch) -> Result<Batch, String> {
        let bytes = batch.bytes_of(0) as u64;
        if bytes > self.max_event {
            return Err(format!("they are larger than `max_event` of `{}` allows; raise it there", self.name));
        }
        let Some(key) = self.key.as_ref().filter(|_| batch.key(0).is_none()) else { return Ok(batch) };
        let made = key
            .evaluate_string(&EventView::of(&batch, 0))
            .map_err(|_| format!("`key: {}` of `{}` still fails for them", key.source(), self.name))?;
        let extensions: Vec<_> = batch.extensions(0).collect();
        let mut builder = BatchBuilder::new();
        let event = Event { key: Some(&made), extensions: &extensions, ..event_of(&batch, 0) };
        builder.push(event).map_err(|error| format!("the key made by `key: {}` is refused: {error}", key.source()))?;
        Ok(builder.finish())
    }
}

/// Every node of a pipeline.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    pub(super) doors: Vec<Door>,
    /// Told when a place has room again.
    pub(crate) freed: Arc<Notify>,
}

impl Doors {
    /// Adds every node of a pipeline, with its place for replays and its ways out.
    pub(crate) fn add(&mut self, pipeline: &Pipeline, inputs: &[ReplayInput], outputs: Vec<Vec<(Port, Edge)>>) {
        let graph = &pipeline.graph;
        for ((node, input), outputs) in graph.nodes().zip(inputs).zip(outputs) {
            let spec = pipeline.node(node);
            let discards = spec.discards.iter().cloned();
            let upstreams: Vec<Arc<str>> = graph.inputs(node).iter().map(|edge| graph.upstream(*edge).into()).collect();
            self.doors.push(match upstreams[..] {
                [] => Door::source(input.node.clone(), outputs, discards, spec.max_event, spec.key.clone()),
                _ => Door::node(input, upstreams, outputs, discards),
            });
        }
    }

    pub(super) fn find(&self, node: &str) -> Option<usize> {
        self.doors.iter().position(|door| *door.name == *node)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.doors.iter().map(|door| &*door.name)
    }
}
