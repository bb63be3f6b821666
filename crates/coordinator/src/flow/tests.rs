//! Edges, routing and the outbox, with every delivery accounted for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use meshloom_config::{Expression, spec::Overflow};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event, ExtensionValue},
    graph::Port,
    machine::Letter,
    origin::{Deliveries, Ledger, Origin, Outcome},
    outputs::{NodeIdentity, OutputEvent, OutputsBuilder, Routes},
};
use proptest::prelude::*;
use tokio::sync::{Notify, mpsc};

use super::{Budget, Edge, EdgeBooks, Inbox, Input, LetterDesk, LetterNote, LettersIn, Outbox, Room, Router};

/// How frames ended, by number.
#[derive(Debug)]
struct Book {
    ended: Mutex<BTreeMap<u64, Outcome>>,
    redelivers: bool,
}

impl Ledger for Book {
    fn closed(&self, frame: u64, outcome: Outcome) {
        let before = self.ended.lock().unwrap().insert(frame, outcome);
        assert_eq!(before, None, "frame {frame} ended twice");
    }

    fn redelivers(&self) -> bool {
        self.redelivers
    }
}

impl Book {
    fn new(redelivers: bool) -> Arc<Self> {
        Arc::new(Self { ended: Mutex::default(), redelivers })
    }

    fn of(&self, frame: u64) -> Option<Outcome> {
        self.ended.lock().unwrap().get(&frame).copied()
    }
}

fn batch(payloads: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for payload in payloads {
        let event = Event { payload: payload.as_bytes(), content_type: Some("application/json"), ..Event::default() };
        builder.push(event).unwrap();
    }
    builder.finish()
}

fn payloads(batch: &Batch) -> Vec<String> {
    (0..batch.len()).map(|row| String::from_utf8_lossy(batch.payload(row)).into_owned()).collect()
}

/// The other end of an edge.
struct Far {
    inbox: Inbox,
    room: Arc<Room>,
    books: Arc<EdgeBooks>,
}

impl Far {
    /// Takes everything that has come, and with `gives` frees its room.
    fn take(&mut self, gives: bool) -> Vec<(Batch, Deliveries)> {
        let mut taken = Vec::new();
        while let Ok(input) = self.inbox.try_recv() {
            let Input::Events { batch, deliveries, .. } = input else { continue };
            if gives {
                self.room.give(batch.len() as i64, batch.bytes() as i64);
            }
            taken.push((batch, deliveries));
        }
        taken
    }

    fn settle(&mut self) -> Vec<String> {
        let taken = self.take(true).into_iter();
        taken
            .flat_map(|(batch, deliveries)| {
                deliveries.settle();
                payloads(&batch)
            })
            .collect()
    }

    fn dropped(&self) -> u64 {
        self.books.dropped.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn produced_and_skipped(&self) -> (u64, u64) {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        (load(&self.books.produced), load(&self.books.skipped))
    }
}

fn edge(to: &str, when: Option<&str>, events: u32, bytes: u64) -> (Edge, Far) {
    let (sender, inbox) = mpsc::channel(1000);
    let room = Arc::new(Room::new(events, bytes, Arc::default(), Arc::default()));
    let books = Arc::new(EdgeBooks::default());
    let edge = Edge {
        index: 0,
        to_node: to.into(),
        label: "n".into(),
        labels_events: false,
        when: when.map(|when| Expression::compile(when).unwrap()),
        overflow: Overflow::Block,
        to: sender,
        room: room.clone(),
        books: books.clone(),
    };
    (edge, Far { inbox, room, books })
}

/// A router over edges (port, condition), and what is at their ends.
struct Stage {
    router: Router,
    outbox: Outbox,
    far: Vec<Far>,
    letters: LettersIn,
    book: Arc<Book>,
}

impl Stage {
    fn new(outputs: &[(Port, Option<&str>)], discards: &[&str]) -> Self {
        let mut far = Vec::new();
        let mut edges = Vec::new();
        for (index, (port, when)) in outputs.iter().enumerate() {
            let (edge, end) = edge(&format!("to{index}"), *when, 1000, 1 << 20);
            edges.push((port.clone(), edge));
            far.push(end);
        }
        let (store, letters) = LetterDesk::new(Budget::new(1 << 20));
        let outbox = Outbox::new(edges.len(), store);
        let router = Router::new("n".into(), edges, discards.iter().map(|route| (*route).to_owned()));
        Self { router, outbox, far, letters, book: Book::new(true) }
    }

    fn route(&mut self, batch: Batch, routes: &Routes) {
        let deliveries = Origin::frame(self.book.clone(), 0, batch.len() as u32);
        self.router.route(batch, routes, deliveries, &mut self.outbox);
        self.outbox.place(self.router.edges());
        assert!(self.outbox.is_empty());
    }

    fn settle(&mut self) -> Vec<Vec<String>> {
        self.far.iter_mut().map(Far::settle).collect()
    }

    fn letters(&mut self) -> Vec<(String, String, String, Vec<String>)> {
        let mut letters = Vec::new();
        while let Some(LetterNote { node, letter, .. }) = self.letters.try_recv() {
            letters.push((node.to_string(), letter.reason.to_string(), letter.message, payloads(&letter.batch)));
            letter.deliveries.settle();
        }
        letters
    }
}

/// Routes as a node would give them to the events of a batch.
fn routes(input: &Batch, names: &[Option<&str>]) -> Routes {
    let mut builder = OutputsBuilder::new(input);
    for (row, route) in names.iter().enumerate() {
        builder.emit(Some(row as u32), None, OutputEvent { route: *route, ..OutputEvent::default() }).unwrap();
    }
    let outputs = builder.finish(false).unwrap();
    outputs.apply(input, &NodeIdentity::new("p", "n", false), Default::default()).unwrap().routes
}

const SETTLED: Option<Outcome> = Some(Outcome::Settled);

#[test]
fn a_fan_out_settles_after_every_branch() {
    let mut stage = Stage::new(&[(Port::Main, None), (Port::Main, None)], &[]);
    stage.route(batch(&["1", "2"]), &Routes::default());
    assert_eq!(stage.far[0].settle(), ["1", "2"]);
    assert_eq!(stage.book.of(0), None);
    assert_eq!(stage.far[1].settle(), ["1", "2"]);
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn each_edge_decides_alone_and_counts_what_it_skips() {
    let mut stage = Stage::new(&[(Port::Main, Some("data.n > 1")), (Port::Main, None)], &[]);
    stage.route(batch(&[r#"{"n":1}"#, r#"{"n":2}"#]), &Routes::default());
    assert_eq!(stage.far[0].produced_and_skipped(), (2, 1));
    assert_eq!(stage.settle(), [vec![r#"{"n":2}"#], vec![r#"{"n":1}"#, r#"{"n":2}"#]]);
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn events_that_no_edge_takes_are_settled() {
    let mut stage = Stage::new(&[(Port::Main, Some("data.n > 9"))], &[]);
    stage.route(batch(&[r#"{"n":1}"#]), &Routes::default());
    assert_eq!(stage.book.of(0), SETTLED);
    let mut sink = Stage::new(&[], &[]);
    sink.route(batch(&["1"]), &Routes::default());
    assert_eq!(sink.book.of(0), SETTLED);
}

#[test]
fn unmatched_takes_what_no_conditional_edge_took() {
    let outputs = [(Port::Main, Some("data.n == 1")), (Port::Main, Some("data.n == 2")), (Port::Unmatched, None)];
    let mut stage = Stage::new(&outputs, &[]);
    stage.route(batch(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]), &Routes::default());
    assert_eq!(stage.settle(), [[r#"{"n":1}"#], [r#"{"n":2}"#], [r#"{"n":3}"#]]);
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn a_condition_that_fails_makes_a_letter_for_its_edge_alone() {
    let outputs = [(Port::Main, Some("data.n == 1")), (Port::Main, None), (Port::Unmatched, None)];
    let mut stage = Stage::new(&outputs, &[]);
    stage.route(batch(&[r#"{"m":1}"#, r#"{"n":1}"#]), &Routes::default());
    assert_eq!(stage.settle(), [vec![r#"{"n":1}"#], vec![r#"{"m":1}"#, r#"{"n":1}"#], vec![]]);
    assert_eq!(stage.book.of(0), None, "the letter is not durable yet");
    let letters = stage.letters();
    let [(node, reason, message, events)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&**node, &**reason, &events[0][..]), ("to0", "WHEN_FAILED", r#"{"m":1}"#));
    assert!(message.contains("data.n == 1") && message.contains("from n to to0"), "{message}");
    assert_eq!(stage.far[0].produced_and_skipped(), (2, 0), "it is not what the condition kept off");
    assert_eq!(stage.far[0].books.refused.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn a_letter_of_a_condition_names_the_upstream_where_the_node_has_several() {
    let (mut output, _far) = edge("to", Some("data.n == 1"), 10, 1 << 20);
    output.labels_events = true;
    let (store, letters) = LetterDesk::new(Budget::new(1 << 20));
    let mut outbox = Outbox::new(1, store);
    let router = Router::new("n".into(), vec![(Port::Main, output)], []);
    let deliveries = Origin::frame(Book::new(true), 0, 1);
    router.route(batch(&["{}"]), &Routes::default(), deliveries, &mut outbox);
    assert_eq!(letters.try_recv().unwrap().letter.batch.from(0), Some("n"));
}

#[test]
fn a_desk_that_is_full_stops_the_sources_and_never_who_leaves_a_letter() {
    let budget = Budget::new(1 << 20);
    let source = budget.share(1 << 20);
    let (desk, store) = LetterDesk::new(budget.clone());
    let book = Book::new(true);
    let one = batch(&["1"]);
    let bytes = one.bytes() as u64;
    for number in 0..1025 {
        assert_eq!(source.room(), (1 << 20) - number * bytes, "{number}");
        desk.push(LetterNote::new("n".into(), letter(one.clone(), Origin::frame(book.clone(), number, 1))));
    }
    assert_eq!((source.room(), store.len()), (0, 1025));
    store.take().into_iter().for_each(|note| note.letter.deliveries.settle());
    assert_eq!(source.room(), 0, "until the store says that it keeps up");
    store.stop_sources(false);
    assert_eq!(source.room(), 1 << 20);
}

#[test]
fn a_routed_output_goes_only_to_its_route() {
    let mut stage = Stage::new(&[(Port::Main, None), (Port::Route("side".into()), None)], &["gone"]);
    let events = batch(&["1", "2", "3", "4"]);
    let routes = routes(&events, &[None, Some("side"), Some("gone"), Some("nowhere")]);
    stage.route(events, &routes);
    assert_eq!(stage.settle(), [["1"], ["2"]]);
    assert_eq!(stage.book.of(0), None);
    let letters = stage.letters();
    let [(node, reason, message, events)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&**node, &**reason, &*events[0]), ("n", "UNROUTED", "4"));
    assert!(message.contains("from: n.nowhere") && message.contains("discard"), "{message}");
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn several_events_without_a_route_become_a_letter_each() {
    let mut stage = Stage::new(&[], &[]);
    let events = batch(&["1", "2"]);
    let routes = routes(&events, &[Some("nowhere"), Some("nowhere")]);
    stage.route(events, &routes);
    assert_eq!(stage.letters().len(), 2);
    assert_eq!(stage.book.of(0), SETTLED);
}

fn letter(batch: Batch, deliveries: Deliveries) -> Letter {
    Letter { batch, deliveries, reason: "BAD".into(), message: "why".into(), attempts: 3 }
}

#[test]
fn rejected_events_go_to_the_rejected_edge_with_the_reason_as_extensions() {
    let mut stage = Stage::new(&[(Port::Main, None), (Port::Rejected, None)], &[]);
    let mut builder = BatchBuilder::new();
    let extensions = [("meshloomreason", ExtensionValue::String("OLD")), ("own", ExtensionValue::Integer(7))];
    builder.push(Event { payload: b"1", id: Some("a"), extensions: &extensions, ..Event::default() }).unwrap();
    let deliveries = Origin::frame(stage.book.clone(), 0, 1);
    stage.router.letter(letter(builder.finish(), deliveries), &mut stage.outbox);
    stage.outbox.place(stage.router.edges());
    let (batch, deliveries) = stage.far[1].take(true).remove(0);
    let extensions: BTreeMap<&str, ExtensionValue<'_>> = batch.extensions(0).collect();
    let expected = [
        ("meshloomattempts", ExtensionValue::Integer(3)),
        ("meshloommessage", ExtensionValue::String("why")),
        ("meshloomnode", ExtensionValue::String("n")),
        ("meshloomreason", ExtensionValue::String("BAD")),
        ("own", ExtensionValue::Integer(7)),
    ];
    assert_eq!(extensions, expected.into());
    assert_eq!((batch.payload(0), batch.id(0)), (&b"1"[..], Some("a")));
    assert!(stage.letters().is_empty());
    deliveries.settle();
    assert_eq!(stage.book.of(0), SETTLED);
}

#[test]
fn without_a_rejected_edge_the_store_takes_the_letter() {
    let mut stage = Stage::new(&[(Port::Main, None)], &[]);
    let deliveries = Origin::frame(stage.book.clone(), 0, 1);
    stage.router.letter(letter(batch(&["1"]), deliveries), &mut stage.outbox);
    stage.outbox.place(stage.router.edges());
    assert_eq!(stage.letters().len(), 1);
}

#[test]
fn events_say_where_they_came_from_when_the_node_below_has_several_upstreams() {
    let (mut output, mut far) = edge("to", None, 10, 1 << 20);
    output.labels_events = true;
    let (store, _letters) = LetterDesk::new(Budget::new(1 << 20));
    let mut outbox = Outbox::new(1, store);
    let router = Router::new("n".into(), vec![(Port::Main, output)], []);
    let deliveries = Origin::frame(Book::new(true), 0, 1);
    router.route(batch(&["1"]), &Routes::default(), deliveries, &mut outbox);
    outbox.place(router.edges());
    assert_eq!(far.take(true)[0].0.from(0), Some("n"));
}

#[test]
fn a_full_edge_takes_what_fits_and_gives_the_rest_back() {
    let (edge, mut far) = edge("to", None, 3, 1 << 20);
    let deliveries = Origin::frame(Book::new(true), 0, 5);
    let (rest, deliveries) = edge.place(batch(&["1", "2", "3", "4", "5"]), deliveries).unwrap();
    assert_eq!((payloads(&rest), deliveries.len()), (vec!["4".to_owned(), "5".to_owned()], 2));
    let taken = far.take(false);
    assert_eq!(taken[0].1.len(), 3);
    let (rest, deliveries) = edge.place(rest, deliveries).unwrap();
    far.room.give(3, taken[0].0.bytes() as i64);
    assert!(edge.place(rest, deliveries).is_none());
    assert_eq!(far.room.used().0, 2);
}

#[test]
fn an_edge_that_drops_takes_what_fits_and_settles_and_counts_the_rest() {
    let (mut edge, mut far) = edge("to", None, 3, 1 << 20);
    edge.overflow = Overflow::DropNewest;
    let book = Book::new(true);
    assert!(edge.place(batch(&["1", "2"]), Origin::frame(book.clone(), 0, 2)).is_none());
    assert_eq!(far.dropped(), 0, "there was room");
    assert!(edge.place(batch(&["3", "4", "5"]), Origin::frame(book.clone(), 1, 3)).is_none());
    assert_eq!((far.dropped(), book.of(1)), (2, None), "an event of the frame is still in the queue");
    assert!(edge.place(batch(&["6"]), Origin::frame(book.clone(), 2, 1)).is_none());
    assert_eq!((far.dropped(), book.of(2)), (3, SETTLED));
    assert_eq!(far.settle(), ["1", "2", "3"]);
    assert_eq!((book.of(0), book.of(1)), (SETTLED, SETTLED));
    assert!(edge.place(batch(&["7"]), Origin::frame(book.clone(), 3, 1)).is_none());
    assert_eq!((far.settle(), far.dropped()), (vec!["7".to_owned()], 3));
}

#[test]
fn an_edge_that_drops_holds_nobody_up_beside_one_that_waits() {
    let (mut drops, mut drops_end) = edge("drops", None, 1, 1 << 20);
    drops.overflow = Overflow::DropNewest;
    let (waits, mut waits_end) = edge("waits", None, 2, 1 << 20);
    let (store, _letters) = LetterDesk::new(Budget::new(1 << 20));
    let mut outbox = Outbox::new(2, store);
    let router = Router::new("n".into(), vec![(Port::Main, drops), (Port::Main, waits)], []);
    let book = Book::new(true);
    router.route(batch(&["1", "2", "3"]), &Routes::default(), Origin::frame(book.clone(), 0, 3), &mut outbox);
    outbox.place(router.edges());
    assert_eq!((drops_end.dropped(), waits_end.dropped()), (2, 0));
    assert!(!outbox.is_empty(), "the other edge has one more to take");
    assert_eq!((drops_end.settle(), waits_end.settle()), (vec!["1".to_owned()], vec!["1".to_owned(), "2".to_owned()]));
    outbox.place(router.edges());
    assert!(outbox.is_empty());
    assert_eq!((waits_end.settle(), drops_end.dropped()), (vec!["3".to_owned()], 2));
    assert_eq!(book.of(0), SETTLED);
}

#[test]
fn what_was_for_a_node_that_is_gone_is_not_dropped_as_overflow() {
    let (mut edge, far) = edge("to", None, 10, 1 << 20);
    edge.overflow = Overflow::DropNewest;
    let books = far.books.clone();
    drop(far);
    let book = Book::new(true);
    let (_, deliveries) = edge.place(batch(&["1"]), Origin::frame(book.clone(), 0, 1)).unwrap();
    assert_eq!((book.of(0), books.dropped.load(std::sync::atomic::Ordering::Relaxed)), (None, 0));
    deliveries.settle();
}

#[test]
fn an_empty_edge_takes_one_event_of_any_size() {
    let (edge, mut far) = edge("to", None, 10, 50);
    let large = "x".repeat(1000);
    let deliveries = Origin::frame(Book::new(true), 0, 2);
    let (rest, deliveries) = edge.place(batch(&[&large, &large]), deliveries).unwrap();
    assert_eq!((rest.len(), far.room.used().0), (1, 1));
    assert!(edge.place(rest, deliveries).is_some(), "it is not empty now");
    far.settle();
}

#[tokio::test]
async fn room_that_comes_free_wakes_who_waits_and_a_wait_presses_the_node_below() {
    let (freed, pressed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (mut edge, _far) = edge("to", None, 1, 1 << 20);
    edge.room = Arc::new(Room::new(1, 1 << 20, freed.clone(), pressed.clone()));
    let one = batch(&["1", "2"]);
    let (rest, deliveries) = edge.place(one, Origin::frame(Book::new(true), 0, 2)).unwrap();
    pressed.notified().await;
    edge.room.give(1, 100);
    freed.notified().await;
    assert!(edge.place(rest, deliveries).is_none());
}

#[test]
fn a_node_that_is_gone_takes_nothing_and_what_was_for_it_waits_to_be_given_up() {
    let (edge, far) = edge("to", None, 10, 1 << 20);
    drop(far);
    let book = Book::new(true);
    let rest = edge.place(batch(&["1"]), Origin::frame(book.clone(), 0, 1));
    assert!(rest.is_some());
    assert_eq!(book.of(0), None);
}

#[tokio::test]
async fn giving_up_makes_letters_of_what_cannot_come_again_and_leaves_the_rest_to_its_source() {
    let (output, far) = edge("to", None, 1, 1 << 20);
    far.room.give(-1, -1);
    let (store, mut letters) = LetterDesk::new(Budget::new(1 << 20));
    let mut outbox = Outbox::new(1, store);
    let (again, never) = (Book::new(true), Book::new(false));
    let mut deliveries = Origin::frame(again.clone(), 0, 2);
    deliveries.append(Origin::frame(never.clone(), 1, 1));
    outbox.push(0, batch(&["1", "2", "3"]), deliveries);
    outbox.push(0, batch(&["4"]), Origin::frame(never.clone(), 2, 1));
    let edges = [output];
    outbox.place(&edges);
    let stored = tokio::spawn(async move {
        let mut stored = Vec::new();
        while let Some(note) = letters.recv().await {
            stored.extend(payloads(&note.letter.batch));
            assert_eq!((&*note.node, &*note.letter.reason), ("to", "DRAINED"), "it was on its way there");
            note.letter.deliveries.settle();
        }
        stored
    });
    outbox.abandon(&edges);
    assert_eq!(far.books.refused.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert!(outbox.is_empty());
    drop(outbox);
    assert_eq!(stored.await.unwrap(), ["3", "4"]);
    assert_eq!((again.of(0), never.of(1), never.of(2)), (Some(Outcome::Lost), SETTLED, SETTLED));
}

#[test]
fn a_full_edge_holds_back_only_what_is_for_it() {
    let (full, mut full_end) = edge("full", None, 1, 1 << 20);
    let (open, mut open_end) = edge("open", None, 10, 1 << 20);
    let (store, _letters) = LetterDesk::new(Budget::new(1 << 20));
    let mut outbox = Outbox::new(2, store);
    let router = Router::new("n".into(), vec![(Port::Main, full), (Port::Main, open)], []);
    let book = Book::new(true);
    let all = batch(&["1", "2", "3"]);
    router.route(all, &Routes::default(), Origin::frame(book.clone(), 0, 3), &mut outbox);
    outbox.place(router.edges());
    assert_eq!(open_end.settle(), ["1", "2", "3"]);
    assert!(!outbox.is_empty());
    for expected in ["1", "2", "3"] {
        assert_eq!(full_end.settle(), [expected]);
        outbox.place(router.edges());
    }
    assert!(outbox.is_empty());
    assert_eq!(book.of(0), SETTLED);
}

proptest! {
    /// However an edge is filled and emptied, nothing is lost, doubled or reordered, and its bounds hold.
    #[test]
    fn an_edge_passes_everything_on_in_order_within_its_bounds(
        events in 1u32..6,
        bytes in 50u64..600,
        frames in prop::collection::vec(prop::collection::vec(0usize..300, 1..8), 1..8),
        takes in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let (edge, mut far) = edge("to", None, events, bytes);
        let (store, _letters) = LetterDesk::new(Budget::new(1 << 20));
        let mut outbox = Outbox::new(1, store);
        let book = Book::new(true);
        let mut expected = Vec::new();
        for (number, sizes) in frames.iter().enumerate() {
            let texts: Vec<String> =
                sizes.iter().enumerate().map(|(row, size)| format!("{number}.{row}{}", "x".repeat(*size))).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            expected.extend(texts.iter().map(|text| (*text).to_owned()));
            outbox.push(0, batch(&texts), Origin::frame(book.clone(), number as u64, sizes.len() as u32));
        }
        let edges = [edge];
        let mut seen = Vec::new();
        let mut turns = takes.iter().cycle();
        while !outbox.is_empty() || far.room.used().0 > 0 {
            outbox.place(&edges);
            let (used_events, used_bytes) = far.room.used();
            prop_assert!(used_events <= u64::from(events));
            prop_assert!(used_bytes <= bytes || used_events == 1);
            prop_assert!(used_events > 0, "an empty edge takes one");
            if *turns.next().unwrap() || !takes.contains(&true) {
                seen.extend(far.settle());
            }
        }
        prop_assert_eq!(far.room.used(), (0, 0));
        prop_assert_eq!(seen, expected);
        for number in 0..frames.len() as u64 {
            prop_assert_eq!(book.of(number), SETTLED);
        }
    }

    /// However an edge that drops is filled and emptied: it never holds anybody up, what it takes is in order, and each
    /// event is either taken or counted as dropped, and settled.
    #[test]
    fn an_edge_that_drops_accounts_for_every_event(
        events in 1u32..6,
        bytes in 50u64..600,
        frames in prop::collection::vec((prop::collection::vec(0usize..300, 1..8), any::<bool>()), 1..12),
    ) {
        let (mut edge, mut far) = edge("to", None, events, bytes);
        edge.overflow = Overflow::DropNewest;
        let book = Book::new(true);
        let (mut offered, mut seen) = (0u64, Vec::new());
        for (number, (sizes, takes)) in frames.iter().enumerate() {
            let texts: Vec<String> =
                sizes.iter().enumerate().map(|(row, size)| format!("{number:02}.{row}{}", "x".repeat(*size))).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            offered += texts.len() as u64;
            let placed = edge.place(batch(&texts), Origin::frame(book.clone(), number as u64, sizes.len() as u32));
            prop_assert!(placed.is_none());
            let (used_events, used_bytes) = far.room.used();
            prop_assert!(used_events > 0 && used_events <= u64::from(events));
            prop_assert!(used_bytes <= bytes || used_events == 1);
            if *takes {
                seen.extend(far.settle());
            }
        }
        seen.extend(far.settle());
        prop_assert!(seen.is_sorted());
        prop_assert_eq!(offered, far.dropped() + seen.len() as u64);
        for number in 0..frames.len() as u64 {
            prop_assert_eq!(book.of(number), SETTLED);
        }
    }

    /// Whatever the conditions, routes and outcomes: each event is on exactly the edges that it belongs to, and the frame
    /// settles with the last of them.
    #[test]
    fn routing_settles_exactly(
        rows in prop::collection::vec((0u8..4, 0usize..5), 1..20),
        conditions in prop::collection::vec(prop::option::of(0u8..4), 0..4),
        unmatched in any::<bool>(),
    ) {
        const ROUTES: [Option<&str>; 5] = [None, None, Some("side"), Some("gone"), Some("nowhere")];
        let whens: Vec<Option<String>> = conditions.iter().map(|n| n.map(|n| format!("data.n == {n}"))).collect();
        let mut outputs: Vec<(Port, Option<&str>)> = whens.iter().map(|when| (Port::Main, when.as_deref())).collect();
        outputs.push((Port::Route("side".into()), None));
        if unmatched {
            outputs.push((Port::Unmatched, None));
        }
        let mut stage = Stage::new(&outputs, &["gone"]);
        // An `n` of 3 is not there at all, so that every condition fails.
        let texts: Vec<String> = rows.iter().enumerate().map(|(row, (n, _))| match n {
            3 => format!(r#"{{"row":{row}}}"#),
            n => format!(r#"{{"n":{n},"row":{row}}}"#),
        }).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let events = batch(&texts);
        let names: Vec<Option<&str>> = rows.iter().map(|(_, route)| ROUTES[*route]).collect();
        let routes = routes(&events, &names);
        stage.route(events, &routes);

        let mut expected: Vec<Vec<String>> = vec![Vec::new(); outputs.len()];
        let mut letters = 0;
        for ((n, _), (route, text)) in rows.iter().zip(names.iter().zip(&texts)) {
            match route {
                Some("side") => expected[conditions.len()].push((*text).to_owned()),
                Some("nowhere") => letters += 1,
                Some(_) => {}
                None => {
                    let mut taken = false;
                    for (at, condition) in conditions.iter().enumerate() {
                        match condition {
                            None => expected[at].push((*text).to_owned()),
                            Some(_) if *n == 3 => {
                                letters += 1;
                                taken = true;
                            }
                            Some(wanted) if wanted == n => {
                                expected[at].push((*text).to_owned());
                                taken = true;
                            }
                            Some(_) => {}
                        }
                    }
                    if unmatched && !taken {
                        expected[conditions.len() + 1].push((*text).to_owned());
                    }
                }
            }
        }
        let open = letters > 0 || expected.iter().any(|edge| !edge.is_empty());
        prop_assert_eq!(stage.book.of(0).is_none(), open);
        prop_assert_eq!(stage.settle(), expected);
        prop_assert_eq!(stage.book.of(0).is_none(), letters > 0);
        prop_assert_eq!(stage.letters().len(), letters);
        prop_assert_eq!(stage.book.of(0), SETTLED);
    }
}
