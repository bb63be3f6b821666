//! The journal as a coordinator uses it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use meshloom_journal::{
    Backlog, Journal, JournalError, MAX_SOURCE_NAME_BYTES, MAX_SOURCES, MIN_SIZE_BYTES, Options, SourceError,
    storage::{Call, Disk, Faults, Memory, Trouble},
};

const OPTIONS: Options = Options { size: MIN_SIZE_BYTES };

fn parts(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn what_was_accepted_on_the_disk_comes_again_until_it_settles() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let (journal, recovery) = Journal::open(Disk::new(&folder).unwrap(), OPTIONS).unwrap();
    assert_eq!((recovery.backlog.len(), recovery.torn), (0, None));
    let (web, tcp) = (journal.source("web").unwrap(), journal.source("tcp").unwrap());
    for n in 1..=5 {
        assert_eq!(journal.append(web, vec![Bytes::from("web "), Bytes::from(n.to_string())]).await, Ok(n));
    }
    assert_eq!(journal.append(tcp, parts("tcp 1")).await, Ok(1));
    journal.settle(web, 2).await.unwrap();
    journal.settle(tcp, 1).await.unwrap();
    journal.close().await;

    let (journal, recovery) = Journal::open(Disk::new(&folder).unwrap(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    assert_eq!(recovery.backlog, [Backlog { source: web, name: "web".into(), first: 3, last: 5 }]);
    for n in 3..=5 {
        assert_eq!(journal.read(web, n).unwrap(), format!("web {n}"));
    }
    let gone = journal.read(web, 2).unwrap_err().to_string();
    assert_eq!(gone, "frame 2 of source `web` is not open");
    assert_eq!(journal.append(web, parts("web 6")).await, Ok(6));
    journal.settle(web, 6).await.unwrap();
    journal.close().await;
    let (journal, recovery) = Journal::open(Disk::new(&folder).unwrap(), OPTIONS).unwrap();
    assert!(recovery.backlog.is_empty());
    assert_eq!((journal.stats().segments, journal.stats().open), (1, 0));
}

#[tokio::test]
async fn what_comes_while_the_disk_is_slow_is_one_group() {
    let faults = Faults::new(Memory::new());
    let (journal, _) = Journal::open(faults.clone(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    let syncs = faults.count(Call::Sync);
    faults.hold();
    let handed_over = Arc::new(AtomicUsize::new(0));
    let append = |n: usize| {
        let (journal, handed_over) = (journal.clone(), handed_over.clone());
        tokio::spawn(async move {
            // The queue has room, so the frame is in it before this task gives way.
            handed_over.fetch_add(1, Ordering::Relaxed);
            journal.append(web, parts(&format!("frame {n}"))).await
        })
    };
    let first = append(0);
    while faults.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (1..=100).map(append).collect();
    while handed_over.load(Ordering::Relaxed) < 101 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished() && others.iter().all(|other| !other.is_finished()));
    faults.release();
    assert_eq!(first.await.unwrap(), Ok(1));
    for (other, n) in others.into_iter().zip(2..) {
        assert_eq!(other.await.unwrap(), Ok(n));
    }
    assert_eq!((faults.count(Call::Sync) - syncs, journal.stats().commits), (2, 2));
    // The machine stops: everything that was acknowledged is there.
    let (_, recovery) = Journal::open(faults.memory().crash(|| false), OPTIONS).unwrap();
    assert_eq!((recovery.backlog[0].first, recovery.backlog[0].last), (1, 101));
}

#[tokio::test]
async fn a_full_journal_refuses_and_takes_again_once_frames_settle() {
    let memory = Memory::new();
    let (journal, _) = Journal::open(memory, OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    let frame = || vec![Bytes::from(vec![7; 100_000])];
    let mut accepted = 0;
    let refused = loop {
        match journal.append(web, frame()).await {
            Ok(sequence) => accepted = sequence,
            Err(error) => break error,
        }
    };
    assert!((30..40).contains(&accepted), "{accepted}");
    let bytes = journal.stats().bytes;
    let expected = format!(
        "the journal is full: {bytes} of `journal: {{ size }}` = 4194304 bytes hold {accepted} frames that have not settled; \
         new events are refused until some do. Look with `meshloom status` at what holds them, or raise the size"
    );
    assert_eq!(refused.to_string(), expected);
    journal.settle(web, 10).await.unwrap();
    until(|| journal.stats().bytes < bytes);
    assert_eq!(journal.append(web, frame()).await, Ok(accepted + 1));
    journal.settle(web, accepted + 1).await.unwrap();
    // The largest frame there is fits into an empty journal.
    let large = vec![Bytes::from(vec![7; 1 << 20])];
    for n in 2..10 {
        let sequence = journal.append(web, large.clone()).await.unwrap();
        assert_eq!(sequence, accepted + n);
        journal.settle(web, sequence).await.unwrap();
    }
    let refused = journal.append(web, vec![Bytes::from(vec![7; (1 << 20) + 1])]).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "a frame of 1048577 bytes is larger than the 1048576 that a journal of 4194304 bytes takes; raise `journal: { size }` \
         or send smaller events"
    );
}

#[tokio::test]
async fn a_failed_sync_ends_it_until_it_is_opened_again() {
    let faults = Faults::new(Memory::new());
    let (journal, _) = Journal::open(faults.clone(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    journal.append(web, parts("one")).await.unwrap();
    faults.arm(Call::Sync, 0, Trouble::Io);
    let failed = journal.append(web, parts("two")).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the journal's storage failed: syncing memory/0000000000000001.segment: injected Io into Sync; what was accepted \
         before is safe, nothing more is accepted. Look at the disk (dmesg), then restart the coordinator, which reads the \
         journal again"
    );
    let syncs = faults.count(Call::Sync);
    assert_eq!(journal.append(web, parts("three")).await, Err(failed.clone()));
    assert_eq!(journal.settle(web, 1).await, Err(failed));
    assert_eq!(faults.count(Call::Sync), syncs);
    assert_eq!(journal.read(web, 1).unwrap(), "one");
    journal.close().await;
    // The system still shows the frame whose sync failed. It is written anew, and then it is there after a crash too.
    let (journal, recovery) = Journal::open(faults.clone(), OPTIONS).unwrap();
    assert_eq!(recovery.backlog[0].last, 2);
    assert_eq!(journal.append(web, parts("three")).await, Ok(3));
    let (journal, recovery) = Journal::open(faults.memory().crash(|| false), OPTIONS).unwrap();
    assert_eq!((recovery.backlog[0].first, recovery.backlog[0].last), (1, 3));
    assert_eq!(journal.read(web, 2).unwrap(), "two");
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_again_once_it_has_room() {
    let faults = Faults::new(Memory::new());
    let (journal, _) = Journal::open(faults.clone(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    journal.append(web, parts("one")).await.unwrap();
    faults.shorten_writes(10);
    faults.arm(Call::Write, 2, Trouble::NoSpace);
    assert_eq!(
        journal.append(web, parts("two")).await.unwrap_err().to_string(),
        "the journal cannot be written: writing memory/0000000000000001.segment: injected NoSpace into Write; what was \
         accepted is safe, new events are refused until the disk has room"
    );
    assert_eq!(journal.append(web, parts("two")).await, Ok(2));
    let (journal, recovery) = Journal::open(faults.memory().crash(|| false), OPTIONS).unwrap();
    assert_eq!((recovery.backlog[0].last, recovery.torn), (2, None));
    assert_eq!(journal.read(web, 2).unwrap(), "two");
}

#[tokio::test]
async fn faults_of_the_caller_are_refused_by_name() {
    let (journal, _) = Journal::open(Memory::new(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    journal.append(web, parts("one")).await.unwrap();
    let ahead = journal.settle(web, 2).await.unwrap_err().to_string();
    assert_eq!(ahead, "frame 2 of source `web` cannot be settled: 1 is its last");
    journal.settle(web, 1).await.unwrap();
    journal.settle(web, 1).await.unwrap();
    let long = "x".repeat(MAX_SOURCE_NAME_BYTES + 1);
    assert_eq!(
        journal.source(&long).unwrap_err().to_string(),
        "a source's name in the journal has 1 to 128 bytes, not 129; give it a shorter name"
    );
    assert_eq!(journal.source(""), Err(SourceError::Name { bytes: 0 }));
    for n in 1..MAX_SOURCES {
        journal.source(&format!("{n}")).unwrap();
    }
    assert_eq!(
        journal.source("one more").unwrap_err().to_string(),
        "the journal knows 512 sources, those of earlier runs included, and takes no more; drain the pipeline and remove the \
         folder of the journal"
    );
    assert_eq!(journal.source("web"), Ok(web));
}

#[tokio::test]
async fn a_frame_that_rots_is_not_given_out() {
    let memory = Memory::new();
    let (journal, _) = Journal::open(memory.clone(), OPTIONS).unwrap();
    let web = journal.source("web").unwrap();
    journal.append(web, parts("one")).await.unwrap();
    memory.corrupt("0000000000000001.segment", |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    let refused = journal.read(web, 1).unwrap_err();
    assert!(matches!(refused, JournalError::Unreadable { .. }));
    assert_eq!(
        refused.to_string(),
        "frame 1 of source `web` cannot be read back: its checksum is wrong; look at the disk, then restart the coordinator"
    );
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let faults = Faults::new(Memory::new());
    faults.arm(Call::Create, 0, Trouble::NoSpace);
    let refused = Journal::open(faults, OPTIONS).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the journal cannot be opened: creating memory/0000000000000001.segment: injected NoSpace into Create; see that this \
         user may write there and that the disk has room"
    );
}
