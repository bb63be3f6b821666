//! The source's actor, driven through its channels.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use meshloom_config::{
    Sampling,
    spec::{Durability, Overflow},
};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    exchange::{FromSource, ToSource},
    graph::Port,
    origin::Deliveries,
};
use meshloom_telemetry::Traces;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{Admission, FrameLedger, FromStream, SourceActor, SourceBooks, SourceJournal, SourceWiring, Window};
use crate::{
    clock::Clock,
    error::RunError,
    flow::{Budget, Edge, EdgeBooks, Inbox, Input, LetterDesk, LetterNote, LettersIn, Outbox, Room, Router},
    phase::Phase,
    spans::SourceSpans,
    state::{Checkpoints, Position},
};

const WINDOW: Window = Window { events: 4, bytes: 1000 };

/// What makes a source different from another.
pub(super) struct Given {
    /// Events that its edge holds.
    pub(super) events: u32,
    pub(super) journal: Option<SourceJournal>,
    pub(super) durability: Option<Durability>,
    pub(super) tells_refusals: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self { events: 100, journal: None, durability: None, tells_refusals: false }
    }
}

pub(super) struct Stage {
    pub(super) stream: mpsc::Sender<FromStream>,
    pub(super) resume: watch::Receiver<Option<Bytes>>,
    pub(super) reopen: mpsc::Receiver<String>,
    pub(super) inbox: Inbox,
    pub(super) room: Arc<Room>,
    pub(super) letters: LettersIn,
    pub(super) fatal: mpsc::Receiver<RunError>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) books: Arc<SourceBooks>,
    pub(super) budget: Budget,
    pub(super) checkpoints: Checkpoints,
    pub(super) actor: JoinHandle<()>,
    _state: tempfile::TempDir,
}

/// Waits for something that must happen.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it happens in time")
}

pub(super) fn frame(ids: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for id in ids {
        builder.push(Event { payload: id.as_bytes(), id: Some(id), ..Event::default() }).unwrap();
    }
    builder.finish()
}

impl Stage {
    /// A running source whose edge holds `events` events, without a journal.
    pub(super) fn new(events: u32) -> Self {
        Self::with(Given { events, ..Given::default() })
    }

    pub(super) fn with(given: Given) -> Self {
        let events = given.events;
        let state = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(&meshloom_journal::storage::Disks, state.path()).unwrap();
        let (freed, books) = (Arc::new(Notify::new()), Arc::new(SourceBooks::default()));
        let (to, inbox) = mpsc::channel(1000);
        let room = Arc::new(Room::new(events, 1 << 20, freed.clone(), Arc::default()));
        let edge = Edge {
            index: 0,
            to_node: "below".into(),
            label: "source".into(),
            labels_events: false,
            when: None,
            overflow: Overflow::Block,
            to,
            room: room.clone(),
            books: Arc::new(EdgeBooks::default()),
        };
        let (store, letters) = LetterDesk::new(Budget::new(1 << 20));
        let (said, stream) = mpsc::channel(1);
        let (resume, resume_from) = watch::channel(None);
        let (reopen, reopens) = mpsc::channel(1);
        let (phase, phases) = watch::channel(Phase::Running);
        let (fatal, failures) = mpsc::channel(1);
        let budget = Budget::new(1 << 20);
        let actor = SourceActor::new(SourceWiring {
            node: "source".into(),
            stream,
            resume,
            reopen,
            router: Router::new("source".into(), vec![(Port::Main, edge)], []),
            outbox: Outbox::new(1, store),
            freed,
            ledger: Arc::new(FrameLedger::default()),
            admission: Admission { default_source: "p/source".into(), key: None, max_event: 200 },
            window: WINDOW,
            budget: budget.clone(),
            checkpoints: checkpoints.clone(),
            position: Position::default(),
            clock: Clock::new(),
            spans: SourceSpans::new(Traces::start(Default::default()), "p", "source", Sampling::Rate(0.0), false),
            books: books.clone(),
            phase: phases,
            fatal,
            in_process: true,
            durability: given.durability,
            journal: given.journal,
            tells_refusals: given.tells_refusals,
        });
        Self {
            stream: said,
            resume: resume_from,
            reopen: reopens,
            inbox,
            room,
            letters,
            fatal: failures,
            phase,
            books,
            budget,
            checkpoints,
            actor: tokio::spawn(actor.run()),
            _state: state,
        }
    }

    /// Asks as the driver does when the stream has ended behind `Exhausted`.
    pub(super) async fn ended(&self) -> Result<(), oneshot::error::RecvError> {
        let (agreed, answer) = oneshot::channel();
        self.say(FromStream::Ended(agreed)).await;
        soon(answer).await
    }

    pub(super) async fn say(&self, said: FromStream) {
        soon(self.stream.send(said)).await.unwrap();
    }

    /// Opens the stream where the actor wants it and returns its commands, the first credit taken.
    pub(super) async fn open(&self, replays: bool) -> mpsc::Receiver<ToSource> {
        let resumed = self.resume.borrow().clone();
        let mut commands = self.open_at(replays, resumed).await;
        let ToSource::Demand { events: 4, bytes: 1000 } = soon(commands.recv()).await.unwrap() else {
            panic!("no credit for the whole window")
        };
        commands
    }

    pub(super) async fn open_at(&self, replays: bool, resumed: Option<Bytes>) -> mpsc::Receiver<ToSource> {
        let (sender, commands) = mpsc::channel(100);
        self.say(FromStream::Opened { replays, resumed, commands: sender }).await;
        commands
    }

    pub(super) async fn produce(&self, sequence: u64, ids: &[&str], checkpoint: Option<&'static str>) {
        let checkpoint = checkpoint.map(|text| Bytes::from_static(text.as_bytes()));
        self.say(FromStream::Said(FromSource::Produced { sequence, batch: frame(ids), checkpoint })).await;
    }

    /// The next events at the node below; their room is free again.
    pub(super) async fn take(&mut self) -> (Batch, Deliveries) {
        let Some(Input::Events { batch, deliveries, .. }) = soon(self.inbox.recv()).await else {
            panic!("the edge has ended")
        };
        self.room.give(batch.len() as i64, batch.bytes() as i64);
        (batch, deliveries)
    }

    pub(super) fn stored(&self) -> Option<Bytes> {
        self.checkpoints.read("source").unwrap().map(|position| position.checkpoint)
    }

    pub(super) async fn letter(&mut self) -> LetterNote {
        soon(self.letters.recv()).await.unwrap()
    }
}

/// The next `Settled` of a stream, whatever credit comes before it.
pub(super) async fn settled(commands: &mut mpsc::Receiver<ToSource>) -> (u64, Option<Bytes>) {
    loop {
        if let ToSource::Settled { sequence, checkpoint } = soon(commands.recv()).await.unwrap() {
            return (sequence, checkpoint);
        }
    }
}

#[tokio::test]
async fn the_position_is_the_contiguous_low_water_mark_and_durable_before_settled_is_said() {
    let mut stage = Stage::new(100);
    let (books, count) = (stage.books.clone(), |count: &AtomicU64| count.load(Ordering::Relaxed));
    let mut commands = stage.open(true).await;
    let mut frames = Vec::new();
    for (sequence, checkpoint) in [(1, "a"), (2, "b"), (3, "c")] {
        stage.produce(sequence, &[checkpoint], Some(checkpoint)).await;
        frames.push(stage.take().await.1);
    }
    let [first, second, third] = frames.try_into().unwrap();
    third.settle();
    second.settle();
    stage.produce(4, &["d"], Some("d")).await;
    let (_, fourth) = stage.take().await;
    assert_eq!(stage.stored(), None, "the first frame pins the position");
    let lags_since = count(&books.oldest_open);
    assert!(lags_since > 0 && count(&books.checkpointed) == 0);
    first.settle();
    let (sequence, checkpoint) = settled(&mut commands).await;
    assert_eq!((sequence, checkpoint.as_deref()), (3, Some(&b"c"[..])));
    assert_eq!(stage.stored().as_deref(), Some(&b"c"[..]));
    assert_eq!(stage.books.open(), 1);
    assert!(count(&books.oldest_open) > lags_since && count(&books.checkpointed) > 0);
    fourth.settle();
    assert_eq!(settled(&mut commands).await.0, 4);
    assert_eq!(count(&books.oldest_open), 0);
}

#[tokio::test]
async fn events_of_a_source_in_this_process_are_paid_for_until_they_settle() {
    let mut stage = Stage::new(100);
    let mut commands = stage.open(true).await;
    stage.produce(1, &["a"], None).await;
    let (_, first) = stage.take().await;
    stage.produce(2, &["b"], Some("b")).await;
    let (batch, second) = stage.take().await;
    let one = batch.bytes() as u64;
    assert_eq!(stage.budget.used(), 2 * one + 1, "two events and a checkpoint");
    second.settle();
    let mut budget = stage.budget.clone();
    soon(async {
        while stage.budget.used() > one + 1 {
            budget.freed().await;
        }
    })
    .await;
    first.settle();
    assert_eq!(settled(&mut commands).await.0, 2);
    assert_eq!(stage.budget.used(), 0);
}

#[tokio::test]
async fn credit_comes_back_only_while_what_was_sent_has_been_placed() {
    let mut stage = Stage::new(2);
    let mut commands = stage.open(true).await;
    stage.produce(1, &["a", "b", "c"], None).await;
    let Some(Input::Events { batch, deliveries, .. }) = soon(stage.inbox.recv()).await else { panic!() };
    assert_eq!(batch.len(), 2);
    assert!(tokio::time::timeout(Duration::from_millis(50), commands.recv()).await.is_err(), "one event has no place");
    stage.room.give(2, batch.bytes() as i64);
    let (_, rest) = stage.take().await;
    let Some(ToSource::Demand { events, .. }) = soon(commands.recv()).await else { panic!() };
    assert_eq!(events, 3, "up to the window again");
    deliveries.settle();
    rest.settle();
}

#[tokio::test]
async fn lost_events_are_read_again_from_the_settled_checkpoint() {
    let mut stage = Stage::new(100);
    let mut commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    stage.take().await.1.settle();
    settled(&mut commands).await;
    stage.produce(2, &["b"], Some("2")).await;
    stage.produce(3, &["c"], Some("3")).await;
    let (_, lost) = stage.take().await;
    let (_, late) = stage.take().await;
    assert_eq!(stage.resume.borrow().as_deref(), Some(&b"3"[..]), "reopened in between, it would go on here");
    drop(lost);
    soon(stage.reopen.recv()).await.unwrap();
    assert_eq!(stage.resume.borrow().as_deref(), Some(&b"1"[..]));
    late.settle();
    stage.produce(4, &["d"], Some("4")).await;
    stage.say(FromStream::Down).await;
    let mut commands = stage.open(true).await;
    stage.produce(1, &["b"], Some("2")).await;
    let (again, deliveries) = stage.take().await;
    assert_eq!(again.payload(0), b"b", "what the old stream still said was not heard");
    deliveries.settle();
    assert_eq!(settled(&mut commands).await, (1, Some(Bytes::from_static(b"2"))));
    assert_eq!(stage.books.open(), 0);
    assert_eq!((stage.books.accepted(), stage.books.settled()), (2, 2), "each event once");
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let books = &stage.books;
    assert_eq!((count(&books.accepted), count(&books.given_up)), (4, 2), "and what metrics count never falls");
}

#[tokio::test]
async fn a_stream_that_resumed_behind_lost_events_is_opened_again() {
    let mut stage = Stage::new(100);
    let _commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    let (_, lost) = stage.take().await;
    // The stream breaks, and while the next one is being opened at 1 the event is lost.
    stage.say(FromStream::Down).await;
    drop(lost);
    soon(stage.reopen.recv()).await.unwrap();
    let mut commands = stage.open_at(true, Some(Bytes::from_static(b"1"))).await;
    soon(stage.reopen.recv()).await.unwrap();
    assert!(soon(commands.recv()).await.is_none(), "it gets no credit");
}

#[tokio::test]
async fn a_source_in_memory_may_forget_at_once_and_has_its_lost_events_dead_lettered() {
    let mut stage = Stage::with(Given { durability: Some(Durability::Memory), ..Given::default() });
    let mut commands = stage.open(false).await;
    stage.produce(1, &["a"], None).await;
    stage.produce(2, &["b"], None).await;
    assert_eq!(settled(&mut commands).await, (1, None));
    assert_eq!(settled(&mut commands).await, (2, None));
    let (_, first) = stage.take().await;
    let (_, second) = stage.take().await;
    // In one turn of the actor: neither may be forgotten over the other.
    drop(first);
    second.settle();
    let note = stage.letter().await;
    assert_eq!((&*note.letter.reason, note.letter.batch.payload(0)), ("LOST", &b"a"[..]));
    note.letter.deliveries.settle();
    soon(async {
        while stage.books.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_frame_beyond_its_credit_is_not_accepted_and_the_third_in_a_row_fails_the_pipeline() {
    let mut stage = Stage::new(100);
    for violation in 1..=3 {
        let _commands = stage.open(true).await;
        stage.produce(1, &["a", "b", "c", "d", "e"], None).await;
        if violation < 3 {
            let why = soon(stage.reopen.recv()).await.unwrap();
            assert!(why.contains("DEMAND_EXCEEDED"), "{why}");
            stage.say(FromStream::Down).await;
        }
    }
    let error = soon(stage.fatal.recv()).await.unwrap();
    assert_eq!((error.code, error.node.as_deref()), ("DEMAND_EXCEEDED", Some("source")));
    assert!(stage.inbox.try_recv().is_err());
}

#[tokio::test]
async fn the_third_malformed_frame_in_a_row_fails_the_pipeline() {
    let mut stage = Stage::new(100);
    for violation in 1..=3 {
        let _commands = stage.open(true).await;
        stage.say(FromStream::Malformed("the ends fall".into())).await;
        if violation < 3 {
            let why = soon(stage.reopen.recv()).await.unwrap();
            assert!(why.contains("FRAME_REFUSED") && why.contains("the ends fall"), "{why}");
            stage.say(FromStream::Down).await;
        }
    }
    let error = soon(stage.fatal.recv()).await.unwrap();
    assert_eq!((error.code, error.node.as_deref()), ("FRAME_REFUSED", Some("source")));
}

#[tokio::test]
async fn a_good_frame_forgives_the_violations_before_it() {
    let mut stage = Stage::new(100);
    for _ in 0..4 {
        let _commands = stage.open(true).await;
        stage.produce(1, &["a"], None).await;
        stage.take().await.1.settle();
        stage.produce(3, &["b"], None).await;
        assert!(soon(stage.reopen.recv()).await.unwrap().contains("frame 3 came after frame 1"));
        stage.say(FromStream::Down).await;
    }
    assert!(stage.fatal.try_recv().is_err());
}

#[tokio::test]
async fn a_stream_hears_nothing_of_the_frames_of_another() {
    let mut stage = Stage::new(100);
    let _commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    let (_, first) = stage.take().await;
    stage.say(FromStream::Down).await;
    let mut commands = stage.open(true).await;
    stage.produce(1, &["b"], Some("2")).await;
    let (_, second) = stage.take().await;
    first.settle();
    soon(async {
        while stage.stored().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    second.settle();
    let told = settled(&mut commands).await;
    assert_eq!(told, (1, Some(Bytes::from_static(b"2"))), "only of its own");
}

#[tokio::test]
async fn an_event_over_the_limit_becomes_a_letter_and_the_others_go_on() {
    let mut stage = Stage::new(100);
    let mut commands = stage.open(true).await;
    let large = "x".repeat(300);
    stage.produce(1, &["a", &large, "c"], Some("1")).await;
    let (batch, deliveries) = stage.take().await;
    assert_eq!((batch.len(), batch.payload(1)), (2, &b"c"[..]));
    deliveries.settle();
    let note = stage.letter().await;
    assert_eq!(note.letter.reason, "EVENT_TOO_LARGE");
    assert_eq!(stage.stored(), None, "the letter is not durable yet");
    note.letter.deliveries.settle();
    settled(&mut commands).await;
    assert_eq!(stage.stored().as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn an_exhausted_source_ends_when_all_of_it_has_settled() {
    let mut stage = Stage::new(100);
    let _commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    stage.say(FromStream::Said(FromSource::Exhausted)).await;
    let (_, deliveries) = stage.take().await;
    assert!(matches!(soon(stage.inbox.recv()).await, Some(Input::EdgeEnded)));
    assert!(!stage.actor.is_finished());
    deliveries.settle();
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(stage.stored().as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn events_lost_after_the_end_of_the_source_fail_the_run() {
    let mut stage = Stage::new(100);
    let _commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    stage.say(FromStream::Said(FromSource::Exhausted)).await;
    let lost = stage.take().await;
    assert!(matches!(soon(stage.inbox.recv()).await, Some(Input::EdgeEnded)));
    drop(lost);
    assert_eq!(soon(stage.fatal.recv()).await.unwrap().code, "EVENTS_LOST");
}

#[tokio::test]
async fn a_source_has_ended_only_when_none_of_it_must_come_again() {
    let mut stage = Stage::new(100);
    let _commands = stage.open(true).await;
    stage.produce(2, &["a"], Some("1")).await;
    stage.say(FromStream::Said(FromSource::Exhausted)).await;
    assert!(stage.ended().await.is_err(), "its frame was refused, so it is opened again");
    assert!(soon(stage.reopen.recv()).await.unwrap().contains("frame 2 came after frame 0"));
    assert!(!stage.books.exhausted.load(std::sync::atomic::Ordering::Relaxed));
    stage.say(FromStream::Down).await;

    let _commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    stage.say(FromStream::Said(FromSource::Exhausted)).await;
    stage.ended().await.expect("all of it was heard");
    stage.take().await.1.settle();
    soon(&mut stage.actor).await.unwrap();
}

#[tokio::test]
async fn a_drain_stops_the_source_and_leaves_what_was_not_finished_to_the_next_run() {
    let mut stage = Stage::new(100);
    let mut commands = stage.open(true).await;
    stage.produce(1, &["a"], Some("1")).await;
    stage.produce(2, &["b"], Some("2")).await;
    stage.take().await.1.settle();
    let (_, unfinished) = stage.take().await;
    stage.phase.send_replace(Phase::Draining);
    soon(async { while !matches!(commands.recv().await, Some(ToSource::Stop)) {} }).await;
    stage.say(FromStream::Down).await;
    assert!(matches!(soon(stage.inbox.recv()).await, Some(Input::EdgeEnded)));
    drop(unfinished);
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(stage.stored().as_deref(), Some(&b"1"[..]));
    assert!(stage.reopen.try_recv().is_err() && stage.fatal.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_come_again_and_has_no_place_is_dead_lettered_when_the_pipeline_is_abandoned() {
    let mut stage = Stage::new(1);
    let _commands = stage.open(false).await;
    stage.produce(1, &["a", "b"], None).await;
    let Some(Input::Events { deliveries, .. }) = soon(stage.inbox.recv()).await else { panic!() };
    stage.phase.send_replace(Phase::Abandoned);
    let note = stage.letter().await;
    assert_eq!((&*note.letter.reason, note.letter.batch.payload(0)), ("DRAINED", &b"b"[..]));
    soon(&mut stage.actor).await.unwrap();
    note.letter.deliveries.settle();
    deliveries.settle();
}

#[tokio::test(start_paused = true)]
async fn a_position_that_cannot_be_written_is_tried_again_after_a_while() {
    let mut stage = Stage::new(100);
    let mut commands = stage.open(true).await;
    let folder = stage._state.path().join("checkpoints");
    std::fs::remove_dir(&folder).unwrap();
    stage.produce(1, &["a"], Some("1")).await;
    stage.take().await.1.settle();
    assert!(tokio::time::timeout(Duration::from_millis(500), settled(&mut commands)).await.is_err());
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(settled(&mut commands).await.0, 1);
    assert_eq!(stage.stored().as_deref(), Some(&b"1"[..]));
}
