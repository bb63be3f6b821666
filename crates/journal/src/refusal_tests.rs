//! What opening and appending refuse, what they say, and that they leave everything as it was.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    error::OpenError,
    format::SEGMENT_HEADER,
    index::Source,
    limits::{MIN_SIZE_BYTES, Options},
    log::{Frame, Log, locked, segment_name},
    recover::{self, Torn},
    storage::{Memory, Storage as _},
};

const OPTIONS: Options = Options { size: MIN_SIZE_BYTES };

fn open(memory: &Memory) -> Result<(Log, Option<Torn>), OpenError> {
    recover::open(Arc::new(memory.clone()), OPTIONS)
}

/// A journal with one source and three blocks of a frame in segment 1; where the blocks begin.
fn journal() -> (Memory, Vec<usize>) {
    let memory = Memory::new();
    let (mut log, torn) = open(&memory).unwrap();
    assert_eq!(torn, None);
    locked(&log.index).sources.push(Source::new("web"));
    let mut starts = Vec::new();
    for content in ["one", "two", "three"] {
        starts.push(log.current.end as usize);
        log.commit(&[Frame { source: 0, parts: vec![Bytes::from(content)] }], &[]).unwrap();
    }
    (memory, starts)
}

fn files(memory: &Memory) -> BTreeMap<String, Vec<u8>> {
    memory.list().unwrap().into_iter().map(|name| (name.clone(), memory.content(&name).unwrap())).collect()
}

/// What opening says, having changed nothing.
fn refusal(memory: &Memory) -> String {
    let before = files(memory);
    let refused = open(memory).unwrap_err().to_string();
    assert_eq!(files(memory), before);
    refused
}

fn last(memory: &Memory) -> u64 {
    let (log, _) = open(memory).unwrap();
    let index = locked(&log.index);
    index.sources[0].last
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let (memory, starts) = journal();
    let length = memory.content(&segment_name(1)).unwrap().len();
    for cut in starts[2] + 1..length {
        let memory = memory.crash(|| false);
        memory.corrupt(&segment_name(1), |bytes| bytes.truncate(cut)).unwrap();
        let (_, torn) = open(&memory).unwrap();
        assert_eq!(torn, Some(Torn { path: memory.path(&segment_name(1)), bytes: (cut - starts[2]) as u64 }));
        assert_eq!(last(&memory), 2);
    }
    assert_eq!(last(&memory), 3);
}

/// A pipeline may well move files of journals about.
#[test]
fn blocks_of_another_journal_in_a_torn_frame_are_no_later_blocks() {
    let (other, starts) = journal();
    let other = other.content(&segment_name(1)).unwrap();
    let memory = Memory::new();
    let (mut log, _) = open(&memory).unwrap();
    locked(&log.index).sources.push(Source::new("web"));
    log.commit(&[Frame { source: 0, parts: vec![Bytes::from(other[starts[1]..].to_vec())] }], &[]).unwrap();
    let end = log.current.end;
    drop(log);
    memory.corrupt(&segment_name(1), |bytes| bytes[end as usize - 1] ^= 1).unwrap();
    let (_, torn) = open(&memory).unwrap();
    assert!(torn.is_some());
}

#[test]
fn damage_before_the_last_block_is_refused_and_left() {
    let (memory, starts) = journal();
    let name = segment_name(1);
    for place in [SEGMENT_HEADER + 3, starts[0] + 5, starts[1] + 40, starts[2] - 1] {
        let memory = memory.crash(|| false);
        memory.corrupt(&name, |bytes| bytes[place] ^= 4).unwrap();
        let block = [SEGMENT_HEADER].iter().chain(&starts).rfind(|start| **start <= place).unwrap().to_owned();
        let refused = refusal(&memory);
        let expected = format!(
            "memory/{name} is damaged at byte {block}: a block that was synced is not there as it was written; it was left \
             as it is. Bring the folder back from a backup, or move it away to start with an empty journal: accepted events \
             in it that had not settled are then not delivered"
        );
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_damaged_tail_of_a_segment_that_was_closed_is_refused() {
    let (memory, starts) = journal();
    drop(open(&memory).unwrap());
    // Segment 2 says that segment 1 ends before its last block, which is in segment 2 now.
    assert_eq!(memory.content(&segment_name(1)).unwrap().len(), starts[2]);
    memory.corrupt(&segment_name(1), |bytes| bytes.truncate(starts[2] - 1)).unwrap();
    let refused = refusal(&memory);
    let expected = format!("byte {}: it ends here, and has had {} bytes", starts[2] - 1, starts[2]);
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn a_missing_segment_with_open_frames_is_refused() {
    let (memory, _) = journal();
    drop(open(&memory).unwrap());
    memory.remove(&segment_name(1)).unwrap();
    let refused = refusal(&memory);
    assert!(refused.contains("2 unsettled frames of source `web` are missing, the first is 1"), "{refused}");
}

#[test]
fn a_mark_beyond_the_last_frame_is_refused() {
    let memory = Memory::new();
    let (log, _) = open(&memory).unwrap();
    let (salt, end) = (log.current.header.salt, log.current.end as usize);
    drop(log);
    let entries = [
        crate::format::Entry::Source { source: 0, mark: 0, last: 0, name: "web".into() },
        crate::format::Entry::Mark { source: 0, through: 1 },
    ];
    memory
        .corrupt(&segment_name(1), |bytes| {
            assert_eq!(bytes.len(), end);
            crate::format::encode_block(bytes, salt, 1, &entries, std::iter::empty());
        })
        .unwrap();
    let refused = refusal(&memory);
    assert!(refused.contains("frame 1 of source `web` is marked as settled, and 0 is its last"), "{refused}");
}

#[test]
fn a_newer_version_is_refused_and_left() {
    let (memory, _) = journal();
    memory.corrupt(&segment_name(1), |bytes| bytes[8] = 2).unwrap();
    let expected = format!(
        "memory/{} was written by a newer version of Meshloom (format 2, this one reads up to 1); it was left as it is. Run \
         the newer version, or drain the pipeline with it and remove the folder then",
        segment_name(1)
    );
    assert_eq!(refusal(&memory), expected);
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (memory, _) = journal();
    memory.rename(&segment_name(1), &segment_name(9)).unwrap();
    let refused = refusal(&memory);
    assert!(refused.contains("byte 0: it says that it is 0000000000000001.segment"), "{refused}");
}

#[test]
fn what_is_no_segment_is_refused() {
    let (memory, _) = journal();
    memory.corrupt(&segment_name(1), |bytes| bytes[0] = 0).unwrap();
    assert!(refusal(&memory).contains("it does not begin like a segment of a journal"));
}

#[test]
fn a_size_that_cannot_work_is_refused() {
    let refused = recover::open(Arc::new(Memory::new()), Options { size: 1000 }).unwrap_err().to_string();
    assert_eq!(refused, "`journal: { size }` is 1000 bytes; a journal needs at least 4194304");
}

#[test]
fn marks_have_room_in_a_full_journal_and_the_size_is_never_passed() {
    let memory = Memory::new();
    let (mut log, _) = open(&memory).unwrap();
    locked(&log.index).sources.push(Source::new("web"));
    let mut last = 0;
    let within = || assert!(files(&memory).values().map(Vec::len).sum::<usize>() as u64 <= OPTIONS.size);
    while log.admit(20_000, 0).is_ok() {
        let frame = Frame { source: 0, parts: vec![vec![1; 20_000].into()] };
        last = log.commit(&[frame], &[]).unwrap()[0];
        within();
    }
    // Marks are repeated to make them many, and nothing is unlinked before the last.
    for through in 1..=last {
        assert_eq!(log.check_mark(0, through), Ok(true));
        log.commit(&[], &[(0, through); 60]).unwrap();
        within();
        if through == last {
            log.reclaim().unwrap();
        }
    }
    assert_eq!(log.admit(20_000, 0), Ok(()));
}
