//! A node's actor, driven through its channels.

use std::{future::Future, sync::Arc, time::Duration};

use meshloom_config::spec::Overflow;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    exchange::{Action, Failure, FromNode, Limits, ToNode, Work, WorkResult},
    graph::Port,
    ids::Uid,
    machine::{End, NodeMachine, OnExhausted, Ordering, OutagePolicy, RetryPolicy, Settings},
    origin::{Deliveries, Ledger, Origin, Outcome},
    outputs::{NodeIdentity, OutputEvent, OutputsBuilder},
};
use meshloom_telemetry::Traces;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{FromReplica, NodeActor, NodeBooks, ReplicaLink, Wiring};
use crate::{
    clock::Clock,
    flow::{Budget, Edge, EdgeBooks, Inbox, Input, LetterDesk, LettersIn, Outbox, Room, Router},
    phase::Phase,
    replica::FirstStart,
    restart::Roll,
    resume::Resume,
    spans::HopSpans,
};

struct Book {
    ended: mpsc::UnboundedSender<Outcome>,
    redelivers: bool,
}

impl Ledger for Book {
    fn closed(&self, _: u64, outcome: Outcome) {
        self.ended.send(outcome).unwrap();
    }

    fn redelivers(&self) -> bool {
        self.redelivers
    }
}

/// Waits for something that must happen.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens in time")
}

fn events(count: u8) -> Batch {
    let mut builder = BatchBuilder::new();
    for number in 0..count {
        let uid = Some(Uid::from_bytes([number + 1; 16]));
        builder.push(Event { payload: &[b'a' + number], uid, ..Event::default() }).unwrap();
    }
    builder.finish()
}

fn edge(to: &str, events: u32, freed: Arc<Notify>, pressed: Arc<Notify>) -> (Edge, Inbox) {
    let (sender, inbox) = mpsc::channel(100);
    let edge = Edge {
        index: 0,
        to_node: to.into(),
        label: "above".into(),
        labels_events: false,
        when: None,
        overflow: Overflow::Block,
        to: sender,
        room: Arc::new(Room::new(events, 1 << 20, freed, pressed)),
        books: Arc::new(EdgeBooks::default()),
    };
    (edge, inbox)
}

struct Stage {
    above: Option<Edge>,
    below: Inbox,
    below_room: Arc<Room>,
    replica: mpsc::Sender<(u32, FromReplica)>,
    restart: mpsc::Receiver<String>,
    is_ward: watch::Receiver<bool>,
    rest: mpsc::Receiver<FirstStart>,
    rolls: mpsc::Sender<Roll>,
    resumes: mpsc::Sender<Resume>,
    _open_sources: watch::Sender<usize>,
    letters: LettersIn,
    phase: watch::Sender<Phase>,
    books: Arc<NodeBooks>,
    actor: JoinHandle<()>,
}

impl Stage {
    /// A node with one replica, which is down, and an edge below that holds `room` events.
    fn new(room: u32) -> Self {
        Self::with(room, OnExhausted::DeadLetter)
    }

    fn with(room: u32, on_exhausted: OnExhausted) -> Self {
        let (freed, pressed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (above, inbox) = edge("n", 100, Arc::default(), pressed.clone());
        let (output, below) = edge("below", room, freed.clone(), Arc::default());
        let below_room = output.room.clone();
        let (store, letters) = LetterDesk::new(Budget::new(1 << 20));
        let (replica, from_replicas) = mpsc::channel(2);
        let (restart, restarts) = mpsc::channel(1);
        let (rest, rests) = mpsc::channel(1);
        let (rolls, asked) = mpsc::channel(1);
        let (resumes, resumed) = mpsc::channel(1);
        let (open_sources, sources) = watch::channel(1);
        let (phase, phases) = watch::channel(Phase::Running);
        let (ward, is_ward) = watch::channel(false);
        let books = Arc::new(NodeBooks::new());
        let settings = Settings {
            identity: NodeIdentity::new("p", "n", false),
            batch_events: 100,
            batch_bytes: 1 << 20,
            linger: None,
            latency: Duration::from_millis(50),
            timeout: Some(Duration::from_secs(30)),
            retry: RetryPolicy { attempts: 3, initial: Duration::from_millis(1), max: Duration::from_millis(2) },
            on_exhausted,
            outage: OutagePolicy::default(),
            rate: None,
            ordering: Ordering::None,
            keys_go_on: false,
            seed: 1,
        };
        let actor = NodeActor::new(
            NodeMachine::new(settings, 1),
            Wiring {
                node: "n".into(),
                inbox,
                edges_in: 1,
                inputs: vec![(above.room.clone(), above.books.clone())],
                router: Router::new("n".into(), vec![(Port::Main, output)], []),
                outbox: Outbox::new(1, store),
                replicas: vec![ReplicaLink { works: None, restart, ward, rest }],
                from_replicas,
                rolls: asked,
                resumes: resumed,
                open_sources: sources,
                freed,
                pressed,
                budget: Budget::new(1 << 20),
                clock: Clock::new(),
                spans: HopSpans::new(Traces::start(Default::default()), "p", "n"),
                books: books.clone(),
                phase: phases,
            },
        );
        let actor = tokio::spawn(actor.run());
        Self {
            above: Some(above),
            below,
            below_room,
            replica,
            restart: restarts,
            is_ward,
            rest: rests,
            rolls,
            resumes,
            _open_sources: open_sources,
            letters,
            phase,
            books,
            actor,
        }
    }

    fn send(&self, count: u8, redelivers: bool) -> mpsc::UnboundedReceiver<Outcome> {
        let (ended, outcomes) = mpsc::unbounded_channel();
        let deliveries = Origin::frame(Arc::new(Book { ended, redelivers }), 0, count.into());
        assert!(self.above.as_ref().unwrap().place(events(count), deliveries).is_none());
        outcomes
    }

    async fn up(&self) -> mpsc::Receiver<ToNode> {
        let (works, queue) = mpsc::channel(10);
        let limits = Limits { works: 1, events: 100, bytes: 1 << 20 };
        soon(self.replica.send((0, FromReplica::Up { limits, reports_progress: true, works }))).await.unwrap();
        queue
    }

    async fn answer(&self, result: WorkResult) {
        soon(self.replica.send((0, FromReplica::Said(FromNode::Result(result))))).await.unwrap();
    }

    async fn take_below(&mut self) -> (Batch, Deliveries) {
        let Some(Input::Events { batch, deliveries, .. }) = soon(self.below.recv()).await else {
            panic!("it has ended")
        };
        (batch, deliveries)
    }

    async fn end_inputs(&mut self) {
        self.above.take().unwrap().end().await;
    }
}

async fn work(queue: &mut mpsc::Receiver<ToNode>) -> Work {
    let Some(ToNode::Work(work)) = soon(queue.recv()).await else { panic!("no work") };
    work
}

/// Asks for another attempt for the first input.
fn busy(work: &Work, retry_after: Option<Duration>) -> WorkResult {
    let (reason, message) = ("BUSY".into(), "why".into());
    let failure = Failure { index: Some(0), action: Action::Retry, reason, message, retry_after };
    WorkResult { sequence: work.sequence, failures: vec![failure], last: true, ..WorkResult::default() }
}

/// One output per input.
fn all_out(work: &Work) -> WorkResult {
    let mut outputs = OutputsBuilder::new(&work.batch);
    for row in 0..work.batch.len() as u32 {
        outputs.emit(Some(row), None, OutputEvent::default()).unwrap();
    }
    WorkResult { sequence: work.sequence, outputs: outputs.finish(false), last: true, ..WorkResult::default() }
}

#[tokio::test]
async fn events_go_through_and_the_node_ends_after_its_inputs() {
    let mut stage = Stage::new(100);
    let mut outcomes = stage.send(3, true);
    let mut queue = stage.up().await;
    let given = work(&mut queue).await;
    assert_eq!(stage.above.as_ref().unwrap().room.used(), (0, 0));
    stage.answer(all_out(&given)).await;
    let (batch, deliveries) = stage.take_below().await;
    assert_eq!(batch.len(), 3);
    assert!(outcomes.try_recv().is_err());
    deliveries.settle();
    assert_eq!(outcomes.recv().await, Some(Outcome::Settled));
    stage.end_inputs().await;
    assert!(matches!(soon(stage.below.recv()).await, Some(Input::EdgeEnded)));
    assert!(soon(queue.recv()).await.is_none(), "the half-close");
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(stage.books.snapshot().books.answered, 3);
    let meters = &stage.books.meters;
    assert_eq!((meters.batch.read().count(), meters.batch.read().sum), (1, 3.0));
    for time in [&meters.queue_wait, &meters.hop, &meters.handler] {
        assert_eq!(time.read().count(), 3, "once for each event");
    }
}

#[tokio::test]
async fn no_further_result_is_read_while_outputs_have_no_place() {
    let mut stage = Stage::new(1);
    let mut outcomes = stage.send(2, true);
    let mut queue = stage.up().await;
    let given = work(&mut queue).await;
    stage.answer(all_out(&given)).await;
    let (first, one) = stage.take_below().await;
    assert_eq!(first.len(), 1);
    let nothing = || (0, FromReplica::Said(FromNode::Progress(Vec::new())));
    // The channel holds two messages; a third finds no place, since nobody reads.
    stage.replica.try_send(nothing()).unwrap();
    stage.replica.try_send(nothing()).unwrap();
    tokio::task::yield_now().await;
    assert!(stage.replica.try_send(nothing()).is_err());
    stage.below_room.give(1, first.bytes() as i64);
    let (_, two) = stage.take_below().await;
    one.settle();
    two.settle();
    assert_eq!(soon(outcomes.recv()).await, Some(Outcome::Settled));
    soon(stage.replica.send(nothing())).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_comes_back_gets_what_it_had_in_hand() {
    let mut stage = Stage::new(100);
    let mut outcomes = stage.send(2, true);
    let mut queue = stage.up().await;
    let given = work(&mut queue).await;
    stage.answer(WorkResult { sequence: 77, last: true, ..WorkResult::default() }).await;
    assert!(soon(stage.restart.recv()).await.unwrap().contains("work 77"));
    soon(stage.replica.send((0, FromReplica::Down(End::Closed)))).await.unwrap();
    let mut queue = stage.up().await;
    let again = work(&mut queue).await;
    assert_eq!((again.batch.uid(1), again.attempts), (given.batch.uid(1), None));
    stage.answer(WorkResult { sequence: again.sequence, consumed: 2, last: true, ..WorkResult::default() }).await;
    assert_eq!(soon(outcomes.recv()).await, Some(Outcome::Settled));
    stage.end_inputs().await;
    soon(&mut stage.actor).await.unwrap();
}

#[tokio::test]
async fn the_driver_of_a_replica_knows_that_it_is_needed_for_suspects_and_the_letter_has_the_last_words() {
    let mut stage = Stage::new(100);
    let mut outcomes = stage.send(1, true);
    for deaths_before in 0..3 {
        let mut queue = stage.up().await;
        work(&mut queue).await;
        soon(stage.is_ward.wait_for(|is_ward| *is_ward == (deaths_before == 2))).await.unwrap();
        let words = "was killed by signal 11 (SIGSEGV)".to_owned();
        soon(stage.replica.send((0, FromReplica::Down(End::Died { words })))).await.unwrap();
    }
    let note = soon(stage.letters.recv()).await.unwrap();
    assert_eq!(&*note.letter.reason, "POISON");
    assert!(note.letter.message.contains("SIGSEGV"), "{}", note.letter.message);
    soon(stage.is_ward.wait_for(|is_ward| !is_ward)).await.unwrap();
    note.letter.deliveries.settle();
    assert_eq!(soon(outcomes.recv()).await, Some(Outcome::Settled));
}

#[tokio::test]
async fn a_replica_to_be_restarted_is_half_closed_once_it_has_nothing_in_hand_and_goes_on_when_it_is_back() {
    let mut stage = Stage::new(100);
    let mut outcomes = stage.send(2, true);
    let mut queue = stage.up().await;
    let given = work(&mut queue).await;
    let (ready, mut started) = oneshot::channel();
    stage.rolls.send(Roll { replica: 0, ready }).await.unwrap();
    // Taken only once the actor has seen the first, and turned down while that one lasts.
    let (other, _never) = oneshot::channel();
    stage.rolls.send(Roll { replica: 0, ready: other }).await.unwrap();
    let mut later = stage.send(1, true);
    assert!(queue.try_recv().is_err() && stage.rest.try_recv().is_err(), "a work is in hand");
    stage.answer(WorkResult { sequence: given.sequence, consumed: 2, last: true, ..WorkResult::default() }).await;
    assert_eq!(soon(outcomes.recv()).await, Some(Outcome::Settled));
    let ready = soon(stage.rest.recv()).await.unwrap();
    assert!(soon(queue.recv()).await.is_none(), "the half-close, and no work before it");
    assert!(started.try_recv().is_err());
    ready.send(Ok(())).unwrap();
    soon(started).await.unwrap().unwrap();
    let mut queue = stage.up().await;
    let given = work(&mut queue).await;
    assert_eq!(given.attempts, None);
    stage.answer(WorkResult { sequence: given.sequence, consumed: 1, last: true, ..WorkResult::default() }).await;
    assert_eq!(soon(later.recv()).await, Some(Outcome::Settled));
}

#[tokio::test]
async fn a_replica_that_is_down_when_it_is_to_be_restarted_has_been_once_it_is_up() {
    let mut stage = Stage::new(100);
    let (ready, mut started) = oneshot::channel();
    stage.rolls.send(Roll { replica: 0, ready }).await.unwrap();
    let (other, ended) = oneshot::channel();
    stage.rolls.send(Roll { replica: 0, ready: other }).await.unwrap();
    assert!(started.try_recv().is_err());
    // The actor has taken the first, since there is room for one only. It hears the replica before the second.
    let mut queue = stage.up().await;
    soon(started).await.unwrap().unwrap();
    // The second is a restart of the one that has just come up; the end of the node ends it too.
    assert!(soon(queue.recv()).await.is_none());
    drop(soon(stage.rest.recv()).await.unwrap());
    stage.end_inputs().await;
    soon(&mut stage.actor).await.unwrap();
    assert!(soon(ended).await.is_err());
}

#[tokio::test]
async fn what_is_given_up_is_lost_for_a_source_that_replays_and_a_letter_for_one_that_cannot() {
    let mut stage = Stage::new(100);
    let mut queue = stage.up().await;
    let mut in_hand = stage.send(1, false);
    work(&mut queue).await;
    let mut waiting = stage.send(2, false);
    let mut replayed = stage.send(1, true);
    stage.phase.send_replace(Phase::Abandoned);
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(replayed.recv().await, Some(Outcome::Lost));
    let mut letters = 0;
    while let Some(note) = stage.letters.recv().await {
        assert_eq!((&*note.node, &*note.letter.reason), ("n", "DRAINED"));
        letters += note.letter.batch.len();
        note.letter.deliveries.settle();
    }
    assert_eq!(letters, 3);
    assert_eq!((in_hand.recv().await, waiting.recv().await), (Some(Outcome::Settled), Some(Outcome::Settled)));
}

#[tokio::test]
async fn a_drain_ends_with_retries_that_fired_once() {
    let mut stage = Stage::new(100);
    let mut outcomes = stage.send(1, true);
    let mut queue = stage.up().await;
    stage.phase.send_replace(Phase::Draining);
    stage.end_inputs().await;
    let given = work(&mut queue).await;
    let result = busy(&given, Some(Duration::from_secs(3600)));
    stage.answer(result).await;
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(outcomes.recv().await, Some(Outcome::Lost), "the next run reads it again");
}

#[tokio::test]
async fn a_node_that_has_paused_goes_on_when_it_is_resumed() {
    let stage = Stage::with(100, OnExhausted::Pause);
    let mut outcomes = stage.send(1, true);
    let mut queue = stage.up().await;
    let resume = async || {
        let (resume, resumed) = oneshot::channel();
        soon(stage.resumes.send(resume)).await.unwrap();
        soon(resumed).await.unwrap()
    };
    assert_eq!(resume().await, None, "it has not paused");
    for _ in 0..3 {
        let given = work(&mut queue).await;
        stage.answer(busy(&given, None)).await;
    }
    // The actor hears its replica first.
    assert_eq!(resume().await, Some(1));
    let given = work(&mut queue).await;
    assert_eq!(given.attempts, None, "its attempts are fresh");
    stage.answer(WorkResult { sequence: given.sequence, consumed: 1, last: true, ..WorkResult::default() }).await;
    assert_eq!(soon(outcomes.recv()).await, Some(Outcome::Settled));
    assert_eq!(resume().await, None);
    assert!(stage.letters.try_recv().is_none());
}
