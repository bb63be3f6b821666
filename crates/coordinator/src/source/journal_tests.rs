//! A source's actor over a journal in memory, which fails when a test wants it to.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use meshloom_config::spec::Durability;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, NotAccepted, ToSource},
    ids::Uid,
};
use meshloom_journal::{
    Journal, Options, SourceId,
    storage::{Call, Faults, Memory, Trouble},
};
use tokio::sync::mpsc;

use super::{
    Backlog, FromStream, SourceJournal, record,
    tests::{Given, Stage, frame, settled, soon},
};
use crate::{flow::Input, phase::Phase};

const SIZE: u64 = 4 << 20;

/// The journal of a source on a disk that outlives it.
struct Disk {
    memory: Memory,
    faults: Faults,
    journal: Journal,
    source: SourceId,
    backlog: Option<Backlog>,
}

impl Disk {
    fn new() -> Self {
        Self::of(Memory::default())
    }

    fn of(memory: Memory) -> Self {
        let faults = Faults::new(memory.clone());
        let (journal, recovery) = Journal::open(faults.clone(), Options { size: SIZE }).unwrap();
        let source = journal.source("source").unwrap();
        let backlog = recovery.backlog.first().map(|left| {
            let read = |sequence| record::decode(journal.read(source, sequence).unwrap()).unwrap().len() as u64;
            Backlog { frames: left.first..=left.last, events: (left.first..=left.last).map(read).sum() }
        });
        Self { memory, faults, journal, source, backlog }
    }

    fn given(&self) -> Given {
        let (journal, source, backlog) = (self.journal.clone(), self.source, self.backlog.clone());
        let max_frame_bytes = Options { size: SIZE }.max_frame_bytes();
        Given { journal: Some(SourceJournal { journal, source, max_frame_bytes, backlog }), ..Given::default() }
    }

    /// What the next run finds.
    async fn reopen(self) -> Self {
        let Self { memory, faults, journal, .. } = self;
        drop(faults);
        soon(journal.close()).await;
        Self::of(memory)
    }

    fn left(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.events)
    }
}

fn uids(batch: &Batch) -> Vec<Uid> {
    (0..batch.len()).map(|row| batch.uid(row)).collect()
}

async fn refused(commands: &mut mpsc::Receiver<ToSource>) -> (u64, NotAccepted) {
    loop {
        match soon(commands.recv()).await.unwrap() {
            ToSource::Refused { sequence, why } => return (sequence, why),
            ToSource::Settled { sequence, .. } => panic!("frame {sequence} was accepted"),
            _ => {}
        }
    }
}

/// Waits for something that must come to hold.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The pipeline ends, as at a second of its ends: what is left stays.
async fn end(stage: &mut Stage) {
    stage.phase.send_replace(Phase::Abandoned);
    soon(&mut stage.actor).await.unwrap();
}

#[tokio::test]
async fn a_frame_is_durable_before_it_may_be_forgotten_and_before_it_goes_on() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    disk.faults.hold();
    stage.produce(1, &["a"], Some("up to a")).await;
    until(|| disk.faults.waiting() == 1).await;
    assert!(stage.inbox.try_recv().is_err() && commands.try_recv().is_err());
    assert_eq!(stage.books.accepted.load(Ordering::Relaxed), 0, "accepted is what is durable");
    disk.faults.release();
    assert_eq!(settled(&mut commands).await, (1, Some(Bytes::from_static(b"up to a"))), "what it may delete upstream");
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.payload(0), b"a");
    assert_eq!(stage.books.redelivered(), 1);
    deliveries.settle();
    until(|| stage.books.redelivered() == 0).await;
}

#[tokio::test]
async fn frames_that_come_while_another_is_written_are_one_commit() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    disk.faults.hold();
    stage.produce(1, &["a"], None).await;
    until(|| disk.faults.waiting() == 1).await;
    for (sequence, id) in [(2, "b"), (3, "c"), (4, "d")] {
        stage.produce(sequence, &[id], None).await;
    }
    // The actor has taken the last frame once it takes what comes behind it.
    stage.say(FromStream::Malformed("no frame".into())).await;
    soon(stage.reopen.recv()).await.unwrap();
    disk.faults.release();
    let (first, one) = stage.take().await;
    let (rest, three) = stage.take().await;
    assert_eq!((first.len(), rest.len()), (1, 3), "in their order");
    assert_eq!((rest.payload(0), rest.payload(2)), (&b"b"[..], &b"d"[..]));
    assert_eq!(disk.journal.stats().open, 2);
    one.settle();
    three.settle();
    until(|| disk.journal.stats().open == 0).await;
    // Of a stream that is to be opened again nothing is said, and nothing is lost.
    assert!(!matches!(commands.try_recv(), Ok(ToSource::Refused { .. })));
}

#[tokio::test]
async fn what_a_crash_left_goes_first_and_is_the_same() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    let mut before = Vec::new();
    for (sequence, id) in [(1, "a"), (2, "b"), (3, "c")] {
        stage.produce(sequence, &[id], None).await;
        settled(&mut commands).await;
        let (batch, deliveries) = stage.take().await;
        before.extend(uids(&batch));
        if sequence == 1 {
            deliveries.settle();
        } else {
            // As in a crash: no verdict, and nobody to hear that there is none.
            std::mem::forget(deliveries);
        }
    }
    until(|| disk.journal.stats().open == 2).await;
    end(&mut stage).await;

    let disk = disk.reopen().await;
    assert_eq!(disk.left(), 2);
    let mut stage = Stage::with(disk.given());
    assert_eq!(stage.books.open(), 2, "they are accepted and open from the start");
    let mut commands = stage.open(false).await;
    stage.produce(1, &["d"], None).await;
    let mut after = Vec::new();
    for expected in [b"b", b"c", b"d"] {
        let (batch, deliveries) = stage.take().await;
        assert_eq!((batch.len(), batch.payload(0)), (1, &expected[..]));
        after.extend(uids(&batch));
        deliveries.settle();
    }
    assert_eq!(after[..2], before[1..]);
    assert_eq!(settled(&mut commands).await, (1, None));
    until(|| disk.journal.stats().open == 0).await;
    assert_eq!(stage.books.open(), 0);
}

#[tokio::test]
async fn a_frame_that_was_lost_is_sent_again_from_the_journal() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    stage.produce(1, &["a", "b"], None).await;
    settled(&mut commands).await;
    let (first, lost) = stage.take().await;
    drop(lost);
    let (again, deliveries) = stage.take().await;
    assert_eq!(uids(&again), uids(&first));
    deliveries.settle();
    until(|| disk.journal.stats().open == 0).await;
    assert_eq!((stage.books.open(), stage.books.redelivered()), (0, 0));
    assert!(stage.letters.try_recv().is_none(), "nothing of it is a letter");
}

#[tokio::test]
async fn who_can_be_told_hears_that_nothing_was_accepted() {
    let disk = Disk::new();
    let mut stage = Stage::with(Given { tells_refusals: true, ..disk.given() });
    let mut commands = stage.open(false).await;
    disk.faults.arm(Call::Write, 0, Trouble::NoSpace);
    stage.produce(1, &["a"], None).await;
    assert_eq!(refused(&mut commands).await, (1, NotAccepted::Failed));
    assert_eq!(stage.books.accepted.load(Ordering::Relaxed), 0);
    assert!(stage.books.trouble().contains("until the disk has room"), "{}", stage.books.trouble());
    stage.produce(2, &["b"], None).await;
    assert_eq!(settled(&mut commands).await.0, 2, "by itself, once there is room");
    assert_eq!(stage.books.trouble(), "");
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.payload(0), b"b");
    deliveries.settle();
}

#[tokio::test]
async fn who_cannot_be_told_waits_until_the_journal_takes_it() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    disk.faults.arm(Call::Write, 0, Trouble::NoSpace);
    stage.produce(1, &["a"], None).await;
    until(|| !stage.books.trouble().is_empty()).await;
    assert_eq!(settled(&mut commands).await.0, 1);
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.payload(0), b"a");
    deliveries.settle();
}

/// Fills the journal on behalf of another source, and answers what to settle so that it is empty again.
async fn fill(disk: &Disk) -> (SourceId, u64) {
    let other = disk.journal.source("other").unwrap();
    let mut last = 0;
    for bytes in [1 << 20, 64 << 10, 1 << 10, 1] {
        while let Ok(sequence) = soon(disk.journal.append(other, vec![vec![0; bytes].into()])).await {
            last = sequence;
        }
    }
    (other, last)
}

#[tokio::test]
async fn a_full_journal_takes_events_again_once_others_have_settled() {
    for tells_refusals in [true, false] {
        let disk = Disk::new();
        let (other, last) = fill(&disk).await;
        let mut stage = Stage::with(Given { tells_refusals, ..disk.given() });
        let mut commands = stage.open(false).await;
        stage.produce(1, &["a"], None).await;
        if tells_refusals {
            assert_eq!(refused(&mut commands).await, (1, NotAccepted::Full));
        }
        until(|| stage.books.trouble().contains("the journal is full")).await;
        assert_eq!(stage.books.accepted.load(Ordering::Relaxed), 0);
        soon(disk.journal.settle(other, last)).await.unwrap();
        let expected = if tells_refusals { 2 } else { 1 };
        if tells_refusals {
            stage.produce(2, &["b"], None).await;
        }
        assert_eq!(settled(&mut commands).await.0, expected);
        let (_, deliveries) = stage.take().await;
        deliveries.settle();
        until(|| stage.books.open() == 0 && stage.books.trouble().is_empty()).await;
    }
}

#[tokio::test]
async fn what_a_broken_disk_does_not_take_before_the_end_becomes_letters() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let _commands = stage.open(false).await;
    disk.faults.arm(Call::Sync, 0, Trouble::Io);
    stage.produce(1, &["a"], None).await;
    until(|| stage.books.trouble().contains("storage failed")).await;
    stage.phase.send_replace(Phase::Draining);
    stage.say(FromStream::Down).await;
    let note = stage.letter().await;
    assert_eq!((&*note.letter.reason, note.letter.batch.payload(0)), ("DRAINED", &b"a"[..]));
    note.letter.deliveries.settle();
    soon(&mut stage.actor).await.unwrap();
    assert_eq!((stage.books.open(), stage.books.redelivered()), (0, 0), "it was never accepted");
}

#[tokio::test]
async fn a_drain_leaves_what_was_not_finished_in_the_journal() {
    let disk = Disk::new();
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open(false).await;
    stage.produce(1, &["a", "b"], None).await;
    settled(&mut commands).await;
    let (_, unfinished) = stage.take().await;
    stage.phase.send_replace(Phase::Draining);
    stage.say(FromStream::Down).await;
    assert!(matches!(soon(stage.inbox.recv()).await, Some(Input::EdgeEnded)));
    end(&mut stage).await;
    assert_eq!(unfinished.irreplaceable(), Vec::<u32>::new(), "it comes again, so it is no letter");
    drop(unfinished);
    assert_eq!(stage.books.redelivered(), 2);
    assert_eq!(disk.reopen().await.left(), 2);
}

#[tokio::test]
async fn an_exhausted_source_ends_when_its_backlog_has_settled_too() {
    let disk = Disk::new();
    let left = record::encode(&frame(&["a", "b"]).with_uids(vec![Uid::from_bytes([1; 16]), Uid::from_bytes([2; 16])]));
    soon(disk.journal.append(disk.source, vec![left])).await.unwrap();
    let disk = disk.reopen().await;
    let mut stage = Stage::with(disk.given());
    let (sender, _commands) = mpsc::channel(100);
    stage.say(FromStream::Opened { replays: false, resumed: None, commands: sender }).await;
    stage.say(FromStream::Said(FromSource::Exhausted)).await;
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.len(), 2);
    assert!(matches!(soon(stage.inbox.recv()).await, Some(Input::EdgeEnded)));
    assert!(!stage.actor.is_finished());
    deliveries.settle();
    soon(&mut stage.actor).await.unwrap();
    assert_eq!(disk.reopen().await.left(), 0, "the last mark is durable");
}

#[tokio::test]
async fn a_source_that_replays_now_gets_credit_behind_what_it_left_when_it_did_not() {
    let disk = Disk::new();
    let left = record::encode(&frame(&["a"]).with_uids(vec![Uid::from_bytes([1; 16])]));
    soon(disk.journal.append(disk.source, vec![left])).await.unwrap();
    let disk = disk.reopen().await;
    let mut stage = Stage::with(disk.given());
    let mut commands = stage.open_at(true, None).await;
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.payload(0), b"a");
    assert!(commands.try_recv().is_err(), "no credit yet");
    deliveries.settle();
    let Some(ToSource::Demand { events: 4, .. }) = soon(commands.recv()).await else { panic!("no credit") };
    stage.produce(1, &["b"], Some("1")).await;
    let (batch, deliveries) = stage.take().await;
    assert_eq!(batch.payload(0), b"b");
    deliveries.settle();
    assert_eq!(settled(&mut commands).await, (1, Some(Bytes::from_static(b"1"))));
    until(|| disk.journal.stats().open == 0).await;
    assert_eq!(disk.reopen_after(&mut stage).await.left(), 0);
}

#[tokio::test]
async fn a_source_in_memory_leaves_the_journal_alone() {
    let disk = Disk::new();
    let commits = disk.journal.stats().commits;
    let mut stage = Stage::with(Given { durability: Some(Durability::Memory), ..disk.given() });
    let mut commands = stage.open(false).await;
    stage.produce(1, &["a"], None).await;
    assert_eq!(settled(&mut commands).await, (1, None));
    let (_, deliveries) = stage.take().await;
    deliveries.settle();
    until(|| stage.books.open() == 0).await;
    assert_eq!((disk.journal.stats().commits, stage.books.redelivered()), (commits, 0));
}

#[tokio::test]
async fn a_frame_larger_than_a_record_is_cut_and_an_event_larger_than_one_becomes_a_letter() {
    let disk = Disk::new();
    let one = frame(&["a"]).bytes() as u64;
    let mut given = disk.given();
    if let Some(journal) = &mut given.journal {
        // Two small events, with the source that admission gives them, but not the large one.
        journal.max_frame_bytes = record::OVERHEAD_BYTES + 2 * (one + 20);
    }
    let mut stage = Stage::with(given);
    let mut commands = stage.open(false).await;
    let large = "x".repeat(55);
    stage.produce(1, &["a", "b", &large, "c"], None).await;
    let (first, one) = stage.take().await;
    let (rest, two) = stage.take().await;
    assert_eq!((first.len(), rest.len(), rest.payload(0)), (2, 1, &b"c"[..]));
    let note = stage.letter().await;
    assert_eq!(note.letter.reason, "EVENT_TOO_LARGE");
    assert!(note.letter.message.contains("journal: { size }"), "{}", note.letter.message);
    let told = |commands: &mut mpsc::Receiver<ToSource>| {
        std::iter::from_fn(|| commands.try_recv().ok()).any(|word| matches!(word, ToSource::Settled { .. }))
    };
    assert!(!told(&mut commands), "the letter is not durable yet");
    note.letter.deliveries.settle();
    assert_eq!(settled(&mut commands).await, (1, None));
    one.settle();
    two.settle();
    until(|| stage.books.open() == 0).await;
}

impl Disk {
    /// As [`reopen`](Self::reopen), with an actor that is still at work.
    async fn reopen_after(self, stage: &mut Stage) -> Self {
        end(stage).await;
        self.reopen().await
    }
}
