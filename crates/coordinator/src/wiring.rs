//! From the graph of a pipeline to actors with edges between them.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use meshloom_config::{
    NodeKind, Pipeline, budget as config,
    spec::{Address, Ordering as Ordered},
};
use meshloom_core::{
    graph::{EdgeId, NodeId, Port},
    machine::{NodeMachine, Ordering as Order, OutagePolicy, RetryPolicy, Settings},
    outputs::NodeIdentity,
};
use meshloom_telemetry::{SpanId, Traces};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    error::RunError,
    flow::{Edge, EdgeBooks, Input, LetterDesk, Outbox, Room, Router},
    node::{NodeActor, NodeBooks, ReplicaLink, Wiring},
    phase::Phase,
    replay::{self, Doors, ReplayInput},
    replica::{Host, NodeSeat, Placement, ReplicaBoard, SourceSeat, drive_node, drive_source},
    restart::Roller,
    resume::Resume,
    source::{Admission, FrameLedger, SourceActor, SourceBooks, SourceWiring, Window},
    spans::{HopSpans, SourceSpans},
    state::{Checkpoints, OpenJournal, Position},
};

/// Events that a source may be ahead of what was placed.
const WINDOW_EVENTS: u64 = 16 * 1024;
/// Payload bytes that a source may be ahead of what was placed.
const WINDOW_BYTES: u64 = 4 << 20;

/// What can be asked of a node while it runs.
pub(crate) enum Place {
    /// A source.
    Source(Arc<SourceBooks>),
    /// A transform or sink.
    Node(Arc<NodeBooks>),
}

/// A node as `status` sees it.
pub(crate) struct NodeView {
    pub(crate) place: Place,
    pub(crate) replicas: Vec<ReplicaBoard>,
    /// Restarts its replicas; a source has none.
    pub(crate) roller: Option<Roller>,
    /// Lets it go on where it has paused; a source does not pause.
    pub(crate) resumes: Option<mpsc::Sender<Resume>>,
}

/// An edge as `status` sees it.
pub(crate) struct EdgeView {
    pub(crate) label: Arc<str>,
    pub(crate) to: Arc<str>,
    pub(crate) books: Arc<EdgeBooks>,
    pub(crate) room: Arc<Room>,
}

/// The pipeline at work.
pub(crate) struct Wired {
    pub(crate) actors: JoinSet<()>,
    pub(crate) drivers: JoinSet<()>,
    /// How each replica came up.
    pub(crate) starts: Vec<oneshot::Receiver<Result<(), RunError>>>,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) edges: Vec<EdgeView>,
    /// Where replays of dead letters enter.
    pub(crate) doors: Doors,
    /// What they have brought to each node.
    pub(crate) replayed: Vec<EdgeView>,
}

/// What all actors share.
pub(crate) struct Commons {
    pub(crate) host: Arc<Host>,
    pub(crate) traces: Traces,
    pub(crate) letters: LetterDesk,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) positions: HashMap<String, Position>,
    /// The journal, and what each source has of it.
    pub(crate) journal: Option<OpenJournal>,
    pub(crate) attached: HashMap<String, Address>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) fatal: mpsc::Sender<RunError>,
    /// How many sources are not exhausted.
    pub(crate) open_sources: watch::Sender<usize>,
}

/// Bytes of the budget, and of it what is left for sources and works after the reserves.
pub(crate) fn memory(pipeline: &Pipeline) -> (u64, u64) {
    let budget = pipeline.memory.unwrap_or_else(|| config::default(&pipeline.nodes));
    (budget, budget.saturating_sub(config::reserved(&pipeline.nodes)))
}

/// Starts every actor and every driver.
pub(crate) fn wire(commons: &Commons) -> Wired {
    let pipeline = commons.host.pipeline.clone();
    let graph = &pipeline.graph;
    let mut wired = Wired {
        actors: JoinSet::new(),
        drivers: JoinSet::new(),
        starts: Vec::new(),
        nodes: Vec::new(),
        edges: Vec::new(),
        doors: Doors::default(),
        replayed: Vec::new(),
    };
    let ends: Vec<NodeEnds> = graph.nodes().map(|node| NodeEnds::new(&pipeline, node)).collect();
    let mut inboxes = Vec::new();
    let mut replay_inputs = Vec::new();
    let mut inputs: Vec<Vec<(Arc<Room>, Arc<EdgeBooks>)>> = vec![Vec::new(); ends.len()];
    let mut outputs: Vec<Vec<(Port, Edge)>> = ends.iter().map(|_| Vec::new()).collect();
    let mut replay_outputs: Vec<Vec<(Port, Edge)>> = ends.iter().map(|_| Vec::new()).collect();
    for ((node, end), node_inputs) in graph.nodes().zip(&ends).zip(&mut inputs) {
        let (sender, inbox) = mpsc::channel::<Input>(end.inbox_places);
        inboxes.push(inbox);
        let edges = graph.inputs(node).len();
        let (freed, pressed) = (wired.doors.freed.clone(), end.pressed.clone());
        let replay = ReplayInput::new(pipeline.node(node).name.as_str().into(), edges, sender.clone(), freed, pressed);
        for (index, edge) in graph.inputs(node).iter().enumerate() {
            let made = make_edge(&pipeline, *edge, index, &ends, sender.clone());
            node_inputs.push((made.room.clone(), made.books.clone()));
            wired.edges.push(EdgeView {
                label: made.label.clone(),
                to: made.to_node.clone(),
                books: made.books.clone(),
                room: made.room.clone(),
            });
            let from = graph.edge(*edge);
            replay_outputs[from.from.index()].push((from.port.clone(), replay.twin(&made)));
            outputs[from.from.index()].push((from.port.clone(), made));
        }
        if edges > 0 {
            node_inputs.push((replay.room.clone(), replay.books.clone()));
            wired.replayed.push(EdgeView {
                label: ReplayInput::label(),
                to: replay.node.clone(),
                books: replay.books.clone(),
                room: replay.room.clone(),
            });
        }
        replay_inputs.push(replay);
    }
    wired.doors.add(&pipeline, &replay_inputs, replay_outputs);
    let share = config::source_share(memory(&pipeline).0, &pipeline.nodes);
    for (((node, inbox), inputs), outputs) in graph.nodes().zip(inboxes).zip(inputs).zip(outputs) {
        let spec = pipeline.node(node);
        let name: Arc<str> = spec.name.as_str().into();
        let outbox = Outbox::new(outputs.len(), commons.letters.clone());
        let router = Router::new(name.clone(), outputs, spec.discards.iter().cloned());
        let freed = ends[node.index()].freed.clone();
        let view = if spec.is_source() {
            start_source(commons, &mut wired, node, name, router, outbox, freed, share)
        } else {
            let pressed = ends[node.index()].pressed.clone();
            start_node(commons, &mut wired, node, name, router, outbox, Ends { inbox, inputs, freed, pressed })
        };
        wired.nodes.push(view);
    }
    wired
}

/// What is known of a node before its edges exist.
struct NodeEnds {
    inbox_places: usize,
    freed: Arc<Notify>,
    pressed: Arc<Notify>,
}

impl NodeEnds {
    fn new(pipeline: &Pipeline, node: NodeId) -> Self {
        let edges = pipeline.graph.inputs(node).len();
        // Every message holds an event that an edge has admitted, or says that an edge has ended.
        let replayed = replay::EVENTS as usize + 1;
        let inbox_places = (pipeline.node(node).queue.events as usize + 1) * edges + replayed + edges + 1;
        Self { inbox_places, freed: Arc::default(), pressed: Arc::default() }
    }
}

struct Ends {
    inbox: mpsc::Receiver<Input>,
    inputs: Vec<(Arc<Room>, Arc<EdgeBooks>)>,
    freed: Arc<Notify>,
    pressed: Arc<Notify>,
}

fn make_edge(pipeline: &Pipeline, id: EdgeId, index: usize, ends: &[NodeEnds], to: mpsc::Sender<Input>) -> Edge {
    let edge = pipeline.graph.edge(id);
    let spec = pipeline.node(edge.to);
    let (freed, pressed) = (ends[edge.from.index()].freed.clone(), ends[edge.to.index()].pressed.clone());
    Edge {
        index: index as u32,
        to_node: spec.name.as_str().into(),
        label: pipeline.graph.upstream(id).into(),
        labels_events: spec.from.len() > 1,
        when: spec.from[index].when.clone(),
        overflow: spec.overflow,
        to,
        room: Arc::new(Room::new(spec.queue.events, spec.queue.bytes, freed, pressed)),
        books: Arc::default(),
    }
}

/// The routes of a node that other nodes take.
fn routes_taken(pipeline: &Pipeline, node: NodeId) -> Vec<String> {
    let edges = pipeline.graph.outputs(node).iter();
    let routes = edges.filter_map(|edge| match &pipeline.graph.edge(*edge).port {
        Port::Route(name) => Some(name.clone()),
        _ => None,
    });
    routes.collect()
}

#[expect(clippy::too_many_arguments, reason = "one call, and each argument is one end of the node")]
fn start_source(
    commons: &Commons,
    wired: &mut Wired,
    node: NodeId,
    name: Arc<str>,
    router: Router,
    outbox: Outbox,
    freed: Arc<Notify>,
    share: u64,
) -> NodeView {
    let Commons { host, .. } = commons;
    let pipeline = &host.pipeline;
    let spec = pipeline.node(node).clone();
    let placement = Placement::of(&spec, 0, commons.attached.get(&spec.name));
    let budget = host.budget.share(share);
    let position = commons.positions.get(&spec.name).cloned().unwrap_or_default();
    let start = (!position.checkpoint.is_empty()).then(|| position.checkpoint.clone());
    let (resume, resume_from) = watch::channel(start);
    let (reopen, reopens) = mpsc::channel(1);
    let (said, stream) = mpsc::channel(1);
    let books = Arc::new(SourceBooks::new(commons.open_sources.clone()));
    let journal = commons.journal.as_ref().and_then(|journal| journal.seat(&spec.name));
    let in_process = placement.is_none();
    let actor = SourceActor::new(SourceWiring {
        node: name.clone(),
        stream,
        resume,
        reopen,
        router,
        outbox,
        freed,
        ledger: Arc::new(FrameLedger::default()),
        admission: Admission {
            default_source: format!("{}/{}", pipeline.name, spec.name).into(),
            key: spec.key.clone(),
            max_event: spec.max_event,
        },
        window: Window { events: WINDOW_EVENTS, bytes: WINDOW_BYTES.min(share / 2).max(1) },
        budget: budget.clone(),
        checkpoints: commons.checkpoints.clone(),
        position,
        clock: host.clock,
        spans: SourceSpans::new(
            commons.traces.clone(),
            &pipeline.name,
            &spec.name,
            pipeline.sampling(node),
            in_process,
        ),
        books: books.clone(),
        phase: commons.phase.clone(),
        fatal: commons.fatal.clone(),
        in_process,
        durability: spec.durability,
        journal,
        tells_refusals: tells_refusals(&spec.kind),
    });
    wired.actors.spawn(actor.run());
    let board = ReplicaBoard::default();
    let (first, start) = oneshot::channel();
    wired.starts.push(start);
    let routes = routes_taken(pipeline, node);
    let seat = SourceSeat {
        host: host.clone(),
        spec,
        placement,
        routes,
        budget,
        actor: said,
        resume: resume_from,
        reopen: reopens,
        board: board.clone(),
        fatal: commons.fatal.clone(),
    };
    wired.drivers.spawn(drive_source(seat, first));
    NodeView { place: Place::Source(books), replicas: vec![board], roller: None, resumes: None }
}

/// Whether a source can pass on to its clients that their events were not accepted. The frames of others wait.
fn tells_refusals(kind: &NodeKind) -> bool {
    use meshloom_config::ConnectorSpec;
    matches!(kind, NodeKind::Use(ConnectorSpec::HttpSource(_) | ConnectorSpec::GrpcSource(_)))
}

fn start_node(
    commons: &Commons,
    wired: &mut Wired,
    node: NodeId,
    name: Arc<str>,
    router: Router,
    outbox: Outbox,
    ends: Ends,
) -> NodeView {
    let Commons { host, .. } = commons;
    let pipeline = &host.pipeline;
    let spec = pipeline.node(node).clone();
    let attached = commons.attached.get(&spec.name);
    let replicas = if attached.is_some() { 1 } else { spec.replicas };
    let machine = NodeMachine::new(
        Settings {
            identity: NodeIdentity::new(&pipeline.name, &spec.name, pipeline.graph.shared_source(node)),
            batch_events: spec.batch.events,
            batch_bytes: spec.batch.bytes,
            linger: spec.batch.linger,
            latency: spec.batch.latency,
            // A node in a debugger stands still as long as its user likes.
            timeout: attached.is_none().then_some(spec.timeout),
            retry: RetryPolicy { attempts: spec.retry.attempts, initial: spec.retry.initial, max: spec.retry.max },
            on_exhausted: spec.on_exhausted,
            outage: OutagePolicy { events: spec.outage, ..OutagePolicy::default() },
            rate: spec.rate.map(|rate| rate.per_second()),
            ordering: match spec.ordering {
                Ordered::None => Order::None,
                Ordered::Key => Order::Key,
                Ordered::All => Order::All,
            },
            keys_go_on: spec.keys_go_on,
            seed: u64::from_be_bytes(SpanId::random().to_bytes()),
        },
        replicas,
    );
    let (said, from_replicas) = mpsc::channel(2 * replicas as usize);
    let mut links = Vec::new();
    let mut boards = Vec::new();
    for replica in 0..replicas {
        let (restart, restarts) = mpsc::channel(1);
        let (ward, is_ward) = watch::channel(false);
        let (rest, rests) = mpsc::channel(1);
        links.push(ReplicaLink { works: None, restart, ward, rest });
        let board = ReplicaBoard::default();
        boards.push(board.clone());
        let (first, start) = oneshot::channel();
        wired.starts.push(start);
        let seat = NodeSeat {
            host: host.clone(),
            placement: Placement::of(&spec, replica, attached),
            spec: spec.clone(),
            replica,
            routes: routes_taken(pipeline, node),
            actor: said.clone(),
            restart: restarts,
            is_ward,
            rest: rests,
            told: None,
            board,
            fatal: commons.fatal.clone(),
        };
        wired.drivers.spawn(drive_node(seat, first));
    }
    let books = Arc::new(NodeBooks::new());
    let (rolls, asked) = mpsc::channel(1);
    let (resumes, resumed) = mpsc::channel(1);
    let actor = NodeActor::new(
        machine,
        Wiring {
            inbox: ends.inbox,
            edges_in: pipeline.graph.inputs(node).len(),
            inputs: ends.inputs,
            router,
            outbox,
            replicas: links,
            from_replicas,
            rolls: asked,
            resumes: resumed,
            open_sources: commons.open_sources.subscribe(),
            freed: ends.freed,
            pressed: ends.pressed,
            budget: host.budget.clone(),
            clock: host.clock,
            spans: HopSpans::new(commons.traces.clone(), &pipeline.name, &name),
            node: name,
            books: books.clone(),
            phase: commons.phase.clone(),
        },
    );
    wired.actors.spawn(actor.run());
    let roller = Some(Roller::new(rolls));
    NodeView { place: Place::Node(books), replicas: boards, roller, resumes: Some(resumes) }
}

impl EdgeView {
    /// Whether anything has come this way.
    pub(crate) fn is_used(&self) -> bool {
        self.books.produced.load(Ordering::Relaxed) > 0
    }

    /// Events that the node below has, refused ones among them.
    pub(crate) fn received(&self) -> u64 {
        self.books.received.load(Ordering::Relaxed) + self.books.refused.load(Ordering::Relaxed)
    }

    /// Events that the node below has not taken yet.
    pub(crate) fn queued(&self) -> u64 {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let gone = load(&self.books.skipped) + load(&self.books.dropped) + self.received();
        load(&self.books.produced).saturating_sub(gone)
    }
}
