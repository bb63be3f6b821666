//! Replays, driven through the places that nodes keep for them.

use std::{future::Future, sync::Arc, time::Duration};

use meshloom_core::{
    batch::Batch,
    graph::Port,
    origin::{Deliveries, Outcome},
};
use meshloom_proto::v1::ReplayDeadLettersResponse;
use tokio::sync::{mpsc, watch};
use tonic::Code;

use super::{Doors, EVENTS, Progress, ReplayInput, Replayer, doors::Door};
use crate::{
    flow::{Budget, Inbox, Input, LetterDesk, LettersIn, Outbox},
    phase::Phase,
    state::{LetterFilter, LetterRecord, LetterStore, SharedLetters, store_tests::letter},
};

/// Two nodes: letters of `filter`, which takes from `a` and `b`, enter there; its route `side` goes to `below`.
struct Stage {
    replayer: Replayer,
    store: SharedLetters,
    filter: (Inbox, ReplayInput),
    below: (Inbox, ReplayInput),
    phase: watch::Sender<Phase>,
    budget: Budget,
    _desk: (LetterDesk, LettersIn),
    _state: tempfile::TempDir,
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens in time")
}

impl Stage {
    fn new(letters: &[LetterRecord]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = SharedLetters::new(LetterStore::open(state.path(), 1 << 30).unwrap().0);
        store.append(letters, crate::state::Bound::Size).unwrap();
        let mut doors = Doors::default();
        let place = |node: &str| {
            let (to, inbox) = mpsc::channel(1000);
            (inbox, ReplayInput::new(node.into(), 2, to, doors.freed.clone(), Arc::default()))
        };
        let (filter, below) = (place("filter"), place("below"));
        let mut side = below.1.twin(&below.1.entry());
        side.label = "filter.side".into();
        let outputs = vec![(Port::Route("side".into()), side)];
        doors.doors.push(Door::node(&filter.1, vec!["a".into(), "b".into()], outputs, []));
        doors.doors.push(Door::node(&below.1, vec!["filter.side".into()], Vec::new(), []));
        let budget = Budget::new(1 << 20);
        let desk = LetterDesk::new(budget.clone());
        let (phase, phases) = watch::channel(Phase::Running);
        let replayer = Replayer::new(doors, store.clone(), desk.0.downgrade(), budget.clone(), phases);
        Self { replayer, store, filter, below, phase, budget, _desk: desk, _state: state }
    }

    fn begin(&self) -> Progress {
        self.replayer.begin(LetterFilter::default()).unwrap()
    }

    fn left(&self) -> Vec<LetterRecord> {
        self.store.page(0, usize::MAX, u64::MAX, &LetterFilter::default()).unwrap().letters
    }
}

/// The next event at a node; its room is free again.
async fn take((inbox, input): &mut (Inbox, ReplayInput)) -> (Batch, Deliveries) {
    let Some(Input::Events { edge: 2, batch, deliveries }) = soon(inbox.recv()).await else { panic!("no event") };
    input.room.give(batch.len() as i64, batch.bytes() as i64);
    (batch, deliveries)
}

async fn end(mut progress: Progress) -> ReplayDeadLettersResponse {
    loop {
        let said = soon(progress.recv()).await.expect("the last one says so").unwrap();
        if said.done {
            return said;
        }
    }
}

fn from(upstream: &str, n: u32) -> LetterRecord {
    LetterRecord { from: Some(upstream.into()), ..letter(n) }
}

#[tokio::test]
async fn an_event_enters_where_it_failed_as_it_was_and_its_letter_goes_when_it_has_settled() {
    let mut stage = Stage::new(&[from("a", 1), from("b", 2)]);
    let progress = stage.begin();
    let (batch, first) = take(&mut stage.filter).await;
    assert_eq!((batch.uid(0).to_string(), batch.from(0)), (letter(1).uid, Some("a")));
    assert_eq!(batch.payload(0), br#"{"z":1.50,"a":1}"#);
    let (batch, second) = take(&mut stage.filter).await;
    assert_eq!(batch.from(0), Some("b"));
    assert!(first.irreplaceable().is_empty(), "the letter is there");
    second.settle();
    soon(async {
        while stage.left().len() > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(stage.left()[0].uid, letter(1).uid);
    first.settle();
    let end = end(progress).await;
    assert_eq!((end.replayed, end.settled, end.failed_again, end.unfinished), (2, 2, 0, 0));
    assert!(stage.left().is_empty());
    assert_eq!((stage.budget.used(), stage.filter.1.room.used()), (0, (0, 0)));
}

#[tokio::test]
async fn an_event_that_fails_again_keeps_its_letter_and_is_not_sent_twice() {
    let mut stage = Stage::new(&[from("a", 1)]);
    let progress = stage.begin();
    let (_, deliveries) = take(&mut stage.filter).await;
    stage.store.append(&[from("a", 1)], crate::state::Bound::Size).unwrap();
    deliveries.settle();
    let end = end(progress).await;
    assert_eq!((end.replayed, end.settled, end.failed_again), (1, 0, 1));
    let [left] = &stage.left()[..] else { panic!() };
    assert_eq!((left.repeats, left.generation), (1, 2));
    assert!(stage.filter.0.try_recv().is_err());
}

#[tokio::test]
async fn an_output_that_nobody_took_enters_at_its_route() {
    let mut stage = Stage::new(&[LetterRecord { route: Some("side".into()), reason: "UNROUTED".into(), ..letter(1) }]);
    let progress = stage.begin();
    let (batch, deliveries) = take(&mut stage.below).await;
    assert_eq!((batch.uid(0).to_string(), batch.from(0)), (letter(1).uid, None));
    deliveries.settle();
    assert_eq!(end(progress).await.settled, 1);
    assert!(stage.left().is_empty());
}

#[tokio::test]
async fn letters_with_no_way_in_are_told_of_and_stay() {
    let gone = LetterRecord { node: "gone".into(), ..letter(1) };
    let mut stage = Stage::new(&[gone, letter(2), from("c", 3), from("a", 4)]);
    let progress = stage.begin();
    take(&mut stage.filter).await.1.settle();
    let end = end(progress).await;
    let whys: Vec<_> = end.refused.iter().map(|refusal| (&*refusal.node, refusal.letters, &*refusal.why)).collect();
    assert_eq!((whys.len(), end.settled), (3, 1), "{whys:?}");
    assert!(whys.iter().any(|(node, _, why)| *node == "gone" && why.contains("no such node")), "{whys:?}");
    assert!(whys.iter().any(|(_, _, why)| why.contains("nothing from `c`")), "{whys:?}");
    assert!(whys.iter().any(|(_, _, why)| why.contains("a, b")), "{whys:?}");
    assert_eq!(stage.left().len(), 3);
}

#[tokio::test]
async fn a_replay_keeps_to_its_place_while_the_node_is_busy() {
    const LETTERS: u32 = 3000;
    let letters: Vec<_> = (1..=LETTERS).map(|n| from("a", n)).collect();
    let mut stage = Stage::new(&letters);
    let progress = stage.begin();
    for n in 0..LETTERS {
        assert!(stage.filter.1.room.used().0 <= u64::from(EVENTS), "event {n}");
        let Some(Input::Events { batch, mut deliveries, .. }) = soon(stage.filter.0.recv()).await else { panic!() };
        assert_eq!(batch.len(), 1);
        stage.filter.1.room.give(1, batch.bytes() as i64);
        deliveries.take_all().settle();
        deliveries.settle();
    }
    let end = end(progress).await;
    assert_eq!((end.replayed, end.settled), (u64::from(LETTERS), u64::from(LETTERS)));
}

#[tokio::test]
async fn who_hangs_up_ends_it_and_what_was_on_its_way_still_counts() {
    let letters: Vec<_> = (1..=2000).map(|n| from("a", n)).collect();
    let mut stage = Stage::new(&letters);
    drop(stage.begin());
    let mut taken = 0;
    // Until nothing is under way any more, and another may begin.
    soon(async {
        loop {
            while let Ok(Input::Events { batch, deliveries, .. }) = stage.filter.0.try_recv() {
                stage.filter.1.room.give(1, batch.bytes() as i64);
                deliveries.settle();
                taken += 1;
            }
            match stage.replayer.begin(LetterFilter { node: Some("below".into()), ..LetterFilter::default() }) {
                Ok(progress) => return end(progress).await,
                Err(busy) => assert!(busy.code() == Code::FailedPrecondition && busy.message().contains("another")),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(taken < 2000, "it was sent no further");
    assert_eq!(stage.left().len(), 2000 - taken);
}

#[tokio::test]
async fn a_pipeline_that_is_given_up_leaves_the_letters_of_what_has_no_verdict() {
    let mut stage = Stage::new(&[from("a", 1), from("a", 2)]);
    let progress = stage.begin();
    take(&mut stage.filter).await.1.settle();
    let held = take(&mut stage.filter).await;
    stage.phase.send_replace(Phase::Draining);
    stage.phase.send_replace(Phase::Abandoned);
    let end = end(progress).await;
    assert_eq!((end.replayed, end.settled, end.unfinished), (2, 1, 1));
    assert_eq!(stage.left().len(), 1);
    held.1.settle();
    let refused = stage.replayer.begin(LetterFilter::default()).unwrap_err();
    assert!(refused.message().contains("ending"), "{refused}");
}

#[tokio::test]
async fn a_node_that_is_gone_is_named_at_once() {
    let stage = Stage::new(&[]);
    let filter = LetterFilter { node: Some("filte".into()), ..LetterFilter::default() };
    let refused = stage.replayer.begin(filter).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("did you mean `filter`") && refused.message().contains("export"), "{refused}");
}

#[test]
fn what_a_replay_forgets_is_lost_and_not_settled() {
    let ledger = Arc::new(crate::source::FrameLedger::default());
    let desk = LetterDesk::new(Budget::new(1));
    let mut lane = Outbox::new(1, desk.0.clone());
    let batch = letter(1).batch().unwrap();
    lane.push(0, batch, meshloom_core::origin::Origin::frame(ledger.clone(), 7, 1));
    lane.forget();
    assert_eq!(ledger.take(), [(7, Outcome::Lost)]);
}
