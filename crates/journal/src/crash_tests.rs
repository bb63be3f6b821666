//! The log against a model, over a storage that fails: random appends, marks, faults, crashes and openings.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    error::{JournalError, OpenError},
    index::Source,
    limits::{MIN_SIZE_BYTES, Options},
    log::{Frame, Log, locked},
    recover,
    storage::{Call, Faults, Memory, Storage as _, Trouble},
};

const SOURCES: usize = 3;
const OPTIONS: Options = Options { size: MIN_SIZE_BYTES };

#[derive(Debug, Clone)]
enum Action {
    /// A group of frames (source, length), and marks that go with it: per source, how many more frames settle.
    Commit(Vec<(usize, usize)>, Vec<(usize, u64)>),
    Arm(Call, u32, Trouble),
    /// Loses what is not synced, or some of it, by this seed.
    Crash(Option<u64>),
    /// Ends the process and opens again: the system still has what was not synced.
    Reopen,
    /// A fault while opening.
    ArmOpening(Call, u32, Trouble),
}

fn action() -> impl Strategy<Value = Action> {
    let frame = (0..SOURCES, prop_oneof![0..200_usize, 0..200_000_usize]);
    let mark = (0..SOURCES, 1..20_u64);
    let call = || {
        let calls =
            [Call::Create, Call::Rename, Call::Remove, Call::SyncFolder, Call::Write, Call::SetLength, Call::Sync];
        prop::sample::select(calls.to_vec())
    };
    let trouble = || prop::sample::select(vec![Trouble::NoSpace, Trouble::Io, Trouble::Crash]);
    prop_oneof![
        12 => (prop::collection::vec(frame, 0..5), prop::collection::vec(mark, 0..3))
            .prop_map(|(frames, marks)| Action::Commit(frames, marks)),
        2 => (call(), 0..4_u32, trouble()).prop_map(|(call, after, trouble)| Action::Arm(call, after, trouble)),
        2 => prop::option::of(any::<u64>()).prop_map(Action::Crash),
        1 => Just(Action::Reopen),
        1 => (call(), 0..2_u32, trouble()).prop_map(|(call, after, trouble)| Action::ArmOpening(call, after, trouble)),
    ]
}

/// What a source must hold.
#[derive(Debug, Default, Clone)]
struct Expected {
    /// All frames ever acknowledged, and those that turned out to be there: sequence n at n - 1.
    frames: Vec<Bytes>,
    /// Frames whose commit failed: there or not, all of a group or none.
    doubtful: Vec<Bytes>,
    /// The durable mark, and the highest that was asked for.
    mark: u64,
    asked: u64,
}

struct World {
    faults: Faults,
    log: Option<Log>,
    expected: Vec<Expected>,
    made: u64,
    short: usize,
}

impl World {
    fn new(short: usize) -> Self {
        let faults = Faults::new(Memory::new());
        faults.shorten_writes(short);
        let mut world = Self { faults, log: None, expected: vec![Expected::default(); SOURCES], made: 0, short };
        world.open();
        world
    }

    fn commit(&mut self, frames: Vec<(usize, usize)>, marks: Vec<(usize, u64)>) {
        let log = self.log.as_mut().unwrap();
        let (mut group, mut bytes) = (Vec::new(), 0);
        for (source, length) in frames {
            self.made += 1;
            let content: Vec<u8> = self.made.to_le_bytes().into_iter().cycle().take(length).collect();
            let frame = Frame { source: source as u32, parts: vec![content.into()] };
            if log.admit(frame.bytes(), bytes).is_ok() {
                bytes += frame.bytes() + crate::log::FRAME_OVERHEAD;
                group.push(frame);
            }
        }
        let mut asked = std::collections::BTreeMap::new();
        for (source, more) in marks {
            let expected = &self.expected[source];
            let through = (expected.mark + more).min(expected.frames.len() as u64);
            if log.check_mark(source as u32, through) == Ok(true) {
                asked.insert(source as u32, through);
            }
        }
        let asked: Vec<_> = asked.into_iter().collect();
        let committed = log.commit(&group, &asked);
        for (frame, at) in group.iter().zip(0..) {
            let expected = &mut self.expected[frame.source as usize];
            match &committed {
                Ok(sequences) => {
                    expected.frames.push(frame.parts[0].clone());
                    assert_eq!(sequences[at], expected.frames.len() as u64);
                }
                Err(JournalError::Failed { .. }) => expected.doubtful.push(frame.parts[0].clone()),
                Err(JournalError::DiskFull { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        for (source, through) in asked {
            let expected = &mut self.expected[source as usize];
            match &committed {
                Ok(_) => (expected.mark, expected.asked) = (through, through),
                Err(JournalError::Failed { .. }) => expected.asked = through,
                Err(_) => {}
            }
        }
        if committed.is_ok() {
            let _ = log.reclaim();
        }
        let held: usize =
            self.faults.list().unwrap().iter().map(|name| self.faults.memory().content(name).unwrap().len()).sum();
        assert!(held as u64 <= OPTIONS.size, "{held} bytes are on the disk");
        if self.log.as_ref().unwrap().failed.is_some() {
            // Nothing more is accepted, whatever the storage would say.
            let refused = self.log.as_mut().unwrap().commit(&[], &[]);
            assert!(matches!(refused, Err(JournalError::Failed { .. })));
        }
    }

    fn crash(&mut self, seed: Option<u64>) {
        let mut random = seed.map(SmallRng::seed_from_u64);
        let left = self.faults.memory().crash(|| random.as_mut().is_some_and(|random| random.random_bool(0.7)));
        self.faults = Faults::new(left);
        self.faults.shorten_writes(self.short);
    }

    /// Opens and compares.
    fn open(&mut self) {
        self.log = None;
        self.faults.disarm();
        let (log, _) = recover::open(Arc::new(self.faults.clone()), OPTIONS).unwrap_or_else(|error| panic!("{error}"));
        let mut index = locked(&log.index);
        for (id, expected) in self.expected.iter_mut().enumerate() {
            let nothing = Source::default();
            let found = index.sources.get(id).unwrap_or(&nothing);
            let doubtful = expected.frames.len() + expected.doubtful.len();
            let last = found.last as usize;
            assert!(
                last == expected.frames.len() || last == doubtful,
                "{last} of {} or {doubtful}",
                expected.frames.len()
            );
            let doubtful = std::mem::take(&mut expected.doubtful);
            if last > expected.frames.len() {
                expected.frames.extend(doubtful);
            }
            assert!(found.mark == expected.mark || found.mark == expected.asked, "mark {}, {expected:?}", found.mark);
            (expected.mark, expected.asked) = (found.mark, found.mark);
            for sequence in found.mark + 1..=found.last {
                let place = index.place(id as u32, sequence).unwrap();
                let content = self.faults.memory().content(&crate::log::segment_name(place.segment)).unwrap();
                let bytes = &content[place.offset as usize..][..place.length as usize];
                assert!(bytes == expected.frames[sequence as usize - 1], "frame {sequence} of {id} is another");
            }
        }
        for id in index.sources.len()..SOURCES {
            index.sources.push(Source::new(&format!("source {id}")));
        }
        drop(index);
        self.log = Some(log);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Commit(frames, marks) => self.commit(frames, marks),
            Action::Arm(call, after, trouble) => self.faults.arm(call, after, trouble),
            Action::Crash(seed) => {
                self.crash(seed);
                self.open();
            }
            Action::Reopen => self.open(),
            Action::ArmOpening(call, after, trouble) => {
                self.log = None;
                self.faults.disarm();
                self.faults.arm(call, after, trouble);
                match recover::open(Arc::new(self.faults.clone()), OPTIONS) {
                    Ok(_) | Err(OpenError::Storage { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
                self.crash(Some(u64::from(after)));
                self.open();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// After any fault and crash: what was acknowledged and has not settled is there, in order, and no mark is ahead.
    #[test]
    fn the_log_keeps_what_it_acknowledged(
        actions in prop::collection::vec(action(), 1..60),
        short in prop::sample::select(vec![7_000_usize, 100_000, usize::MAX]),
    ) {
        let mut world = World::new(short);
        for action in actions {
            world.act(action);
        }
        world.crash(None);
        world.open();
    }
}
