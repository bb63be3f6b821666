use super::*;

fn source(mark: u64, last: u64) -> Entry {
    Entry::Source { source: 0, mark, last, name: "web".into() }
}

fn frame(sequence: u64) -> Entry {
    Entry::Frame { source: 0, sequence, length: 10, crc: 0 }
}

fn refused(entries: &[Entry]) -> String {
    Index::default().apply(1, 0, entries).unwrap_err()
}

#[test]
fn a_mark_closes_what_is_below_it_and_a_segment_without_open_frames_goes() {
    let mut index = Index::default();
    index.apply(1, 100, &[source(0, 0), frame(1), frame(2)]).unwrap();
    index.apply(2, 50, &[source(0, 2), frame(3)]).unwrap();
    assert_eq!(index.place(0, 2), Some(Place { segment: 1, offset: 110, length: 10, crc: 0 }));
    assert!(index.wholly_settled(2).is_empty());
    index.apply(2, 0, &[Entry::Mark { source: 0, through: 1 }]).unwrap();
    assert!(index.wholly_settled(2).is_empty());
    index.apply(2, 0, &[Entry::Mark { source: 0, through: 2 }]).unwrap();
    assert_eq!(index.wholly_settled(2), [1]);
    assert_eq!((index.place(0, 2), index.open()), (None, 1));
    assert_eq!(index.complete(), Ok(()));
}

#[test]
fn what_contradicts_itself_is_named() {
    let mark = |through| Entry::Mark { source: 0, through };
    assert_eq!(refused(&[source(0, 1), mark(2)]), "frame 2 of source `web` is marked as settled, and 1 is its last");
    assert_eq!(refused(&[source(3, 2)]), "frame 3 of source `web` is marked as settled, and 2 is its last");
    assert_eq!(refused(&[source(2, 2), mark(1)]), "the mark of source `web` goes back from 2 to 1");
    assert_eq!(refused(&[source(0, 0), frame(2)]), "frame 2 of source `web` follows frame 0");
    assert_eq!(refused(&[source(0, 2), source(0, 1)]), "source `web` goes back from frame 2 to 1");
    assert_eq!(refused(&[frame(1)]), "source 0 has no name");
    let other = Entry::Source { source: 0, mark: 0, last: 0, name: "tcp".into() };
    assert_eq!(refused(&[source(0, 0), other]), "source 0 is called both `web` and `tcp`");
}

#[test]
fn frames_of_a_segment_that_is_gone_are_missed_if_they_are_open() {
    let mut index = Index::default();
    index.apply(1, 0, &[source(0, 0), frame(1)]).unwrap();
    index.apply(3, 0, &[source(0, 4), frame(5)]).unwrap();
    assert_eq!(index.complete(), Err("3 unsettled frames of source `web` are missing, the first is 2".to_owned()));
    index.apply(3, 0, &[Entry::Mark { source: 0, through: 4 }]).unwrap();
    assert_eq!(index.complete(), Ok(()));
}
