use std::fs::{self, OpenOptions};
use std::io::Write as _;

use meshloom_journal::storage::Memory;
use serde_json::value::RawValue;

use super::*;

mod faults;

impl PartialEq for LetterRecord {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_string(self).unwrap() == serde_json::to_string(other).unwrap()
    }
}

pub(crate) fn letter(n: u32) -> LetterRecord {
    LetterRecord {
        time: n.into(),
        node: "filter".into(),
        from: None,
        route: None,
        uid: format!("{n:032x}"),
        reason: "BAD_LINE".into(),
        message: "why".into(),
        attempts: 1,
        trace_id: None,
        generation: 0,
        repeats: 0,
        history: Vec::new(),
        event: RawValue::from_string(format!(
            r#"{{"specversion":"1.0","id":"{n}","source":"s","type":"t","data":{{"z":1.50,"a":{n}}}}}"#
        ))
        .unwrap(),
    }
}

fn stored(n: u32, generation: u64) -> LetterRecord {
    LetterRecord { generation, ..letter(n) }
}

fn open(state: &Path) -> LetterStore {
    let (store, opened) = LetterStore::open(state, 1 << 20).unwrap();
    assert_eq!(opened, Opened::default());
    store
}

fn add(store: &mut LetterStore, letters: &[LetterRecord]) -> Vec<bool> {
    store.append(letters, Bound::Size).unwrap()
}

fn read(state: &Path) -> Result<Vec<LetterRecord>, StateError> {
    let mut letters = Vec::new();
    LetterStore::each(state, |letter| {
        letters.push(letter);
        Ok(())
    })?;
    Ok(letters)
}

#[test]
fn letters_are_read_as_written_while_the_store_is_open_and_later() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(read(state.path()).unwrap(), []);
    let mut store = open(state.path());
    assert_eq!(add(&mut store, &[letter(1), letter(2)]), [true, true]);
    assert_eq!(read(state.path()).unwrap(), [stored(1, 1), stored(2, 2)]);
    drop(store);
    add(&mut open(state.path()), &[letter(3)]);
    assert_eq!(read(state.path()).unwrap(), [stored(1, 1), stored(2, 2), stored(3, 3)]);
}

#[test]
fn what_a_crash_left_unfinished_is_cut_and_counted_and_no_reader_sees_it() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    add(&mut store, &[letter(1)]);
    let whole = fs::read(LetterStore::path(state.path())).unwrap();
    add(&mut store, &[letter(2), letter(3)]);
    drop(store);
    let all = fs::read(LetterStore::path(state.path())).unwrap();
    for length in whole.len() + 1..all.len() {
        fs::write(LetterStore::path(state.path()), &all[..length]).unwrap();
        assert_eq!(read(state.path()).unwrap(), [stored(1, 1)]);
        let (mut store, opened) = LetterStore::open(state.path(), 1 << 20).unwrap();
        assert_eq!(opened, Opened { cut: (length - whole.len()) as u64, converted: None });
        add(&mut store, &[letter(4)]);
        assert_eq!(read(state.path()).unwrap(), [stored(1, 1), stored(4, 2)]);
    }
}

#[test]
fn a_damaged_or_newer_file_is_refused_with_a_remedy_and_left_untouched() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    add(&mut store, &[letter(1)]);
    add(&mut store, &[letter(2)]);
    drop(store);
    let path = LetterStore::path(state.path());
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, says) in [
        ("\"version\":2", "\"version\":3", "format 3"),
        ("\"reason\":\"BAD_LINE\"", "\"reason\":\"BAD_LIME\"", "checksum"),
        ("{\"letter\":", "{\"better\":", "damaged"),
        ("{\"dead_letters\":", "{\"dead_betters\":", "line 1 is no dead letter"),
        ("\"next\":1", "\"next\":0", "damaged"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        fs::write(&path, &bad).unwrap();
        for error in [LetterStore::open(state.path(), 1 << 20).unwrap_err(), read(state.path()).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains(says) && error.contains("--fresh") && error.contains("ndjson"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}

#[test]
fn an_event_that_fails_again_is_one_letter_with_its_history() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    let failed = |time: u64| LetterRecord { time, reason: format!("R{time}"), ..letter(1) };
    add(&mut store, &[failed(1), letter(2), failed(2)]);
    add(&mut store, &[failed(3)]);
    let [other, again] = &read(state.path()).unwrap()[..] else { panic!() };
    assert_eq!((&*other.uid, &*again.reason, again.repeats, again.generation), (&*letter(2).uid, "R3", 2, 4));
    let reasons: Vec<_> = again.history.iter().map(|earlier| (earlier.time, &*earlier.reason)).collect();
    assert_eq!(reasons, [(1, "R1"), (2, "R2")]);
    for time in 4..30 {
        add(&mut store, &[failed(time)]);
    }
    let again = read(state.path()).unwrap().pop().unwrap();
    assert_eq!((again.repeats, again.history.len(), again.history[0].time), (28, record::HISTORY, 21));
    // The same event elsewhere, from elsewhere, or as an output that nobody takes is another letter.
    let elsewhere = [
        LetterRecord { node: "other".into(), ..letter(1) },
        LetterRecord { from: Some("a".into()), ..letter(1) },
        LetterRecord { from: Some("b".into()), ..letter(1) },
        LetterRecord { route: Some("a".into()), ..letter(1) },
    ];
    add(&mut store, &elsewhere);
    assert_eq!(store.holding().letters, 6);
}

#[test]
fn a_letter_is_removed_only_by_the_generation_that_it_has_now() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    add(&mut store, &[letter(1), letter(2)]);
    add(&mut store, &[letter(1)]);
    assert_eq!(store.remove(&[1]).unwrap(), 0, "it has failed again");
    assert_eq!(store.remove(&[2, 2, 77]).unwrap(), 1);
    assert_eq!(store.discard(&LetterFilter::default()).unwrap(), 1);
    drop(store);
    let mut store = open(state.path());
    add(&mut store, &[letter(1)]);
    assert_eq!(read(state.path()).unwrap(), [stored(1, 4)], "no generation comes twice");
}

#[test]
fn a_full_store_takes_repeats_but_nothing_new_until_there_is_room() {
    let state = tempfile::tempdir().unwrap();
    let line = serde_json::to_string(&stored(1, 1)).unwrap().len() as u64 + "{\"letter\":}\n".len() as u64;
    let (mut store, _) = LetterStore::open(state.path(), 2 * line).unwrap();
    assert_eq!(
        add(&mut store, &[letter(1), letter(2), letter(3), letter(1), letter(4)]),
        [true, true, false, true, false]
    );
    let holding = store.holding();
    assert_eq!((holding.letters, holding.max_bytes), (2, 2 * line));
    assert!(holding.bytes <= 2 * line + 20, "a repeat that has no room keeps its number only: {holding:?}");
    let first = read(state.path()).unwrap().pop().unwrap();
    assert_eq!((first.repeats, first.history.len()), (1, 0));
    assert_eq!(store.remove(&[2]).unwrap(), 1);
    assert_eq!(add(&mut store, &[letter(3)]), [false], "the repeat has taken a little of it");
    assert_eq!(store.remove(&[3]).unwrap(), 1);
    assert_eq!(add(&mut store, &[letter(3)]), [true]);
    assert_eq!(store.append(&[letter(4), letter(5)], Bound::None).unwrap(), [true, true]);
}

#[test]
fn letters_are_paged_by_filter_count_and_size() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    add(&mut store, &(1..=10).map(letter).collect::<Vec<_>>());
    let filter = LetterFilter { since: Some(3), ..LetterFilter::default() };
    let numbers = |page: &Page| page.letters.iter().map(|letter| letter.time).collect::<Vec<_>>();
    let page = store.page(0, 4, u64::MAX, &filter).unwrap();
    assert_eq!((numbers(&page), page.next), (vec![3, 4, 5, 6], Some(6)));
    let page = store.page(6, 4, u64::MAX, &filter).unwrap();
    assert_eq!((numbers(&page), page.next), (vec![7, 8, 9, 10], None));
    let page = store.page(6, 4, 1, &filter).unwrap();
    assert_eq!((numbers(&page), page.next), (vec![7], Some(7)), "one, whatever its size");
}

#[test]
fn a_file_that_says_mostly_what_is_over_is_written_anew() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    let size = || fs::metadata(LetterStore::path(state.path())).unwrap().len();
    let padded = |n| LetterRecord { message: "x".repeat(4000), ..letter(n) };
    add(&mut store, &[letter(0)]);
    for round in 0..10 {
        add(&mut store, &(1..=20).map(padded).collect::<Vec<_>>());
        let last = store.next_generation();
        assert_eq!(store.remove(&(last - 20..last).collect::<Vec<_>>()).unwrap(), 20, "round {round}");
        assert!(size() < 2 * IDLE_BYTES + 90_000, "{} bytes", size());
    }
    drop(store);
    assert_eq!(read(state.path()).unwrap(), [stored(0, 1)]);
    let mut store = open(state.path());
    add(&mut store, &[letter(1)]);
    assert_eq!(read(state.path()).unwrap().pop().unwrap().generation, 202);
}

/// Written by the version before this one.
const FORMER: &str = include_str!("../../../tests/fixtures/dead-letters-1.ndjson");

#[test]
fn the_letters_of_the_former_version_are_taken_over() {
    let state = tempfile::tempdir().unwrap();
    let path = LetterStore::path(state.path());
    fs::write(&path, FORMER).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":3").unwrap();
    let before = read(state.path()).unwrap();
    let (mut store, opened) = LetterStore::open(state.path(), 1 << 20).unwrap();
    assert_eq!(opened, Opened { cut: 9, converted: Some(4) });
    let after = read(state.path()).unwrap();
    let told = |letters: &[LetterRecord]| {
        letters.iter().map(|letter| (letter.node.clone(), letter.reason.clone(), letter.repeats)).collect::<Vec<_>>()
    };
    let one = |node: &str, reason: &str, repeats| (node.to_owned(), reason.to_owned(), repeats);
    assert_eq!(told(&after), [one("in", "EVENT_TOO_LARGE", 0), one("map", "BAD", 0), one("map", "TIMEOUT", 1)]);
    assert_eq!(told(&before), told(&after), "a look before shows the same");
    assert_eq!(after[2].history[0].reason, "BAD");
    assert!(after[1].event.get().contains(r#""data":{"n":2,"f":1.50}"#), "{}", after[1].event);
    assert_eq!(store.remove(&[3]).unwrap(), 1);
    drop(store);
    assert_eq!(open(state.path()).holding().letters, 2);
}

#[test]
fn a_former_file_with_a_line_that_is_no_letter_is_left_alone() {
    let state = tempfile::tempdir().unwrap();
    let path = LetterStore::path(state.path());
    let bad = format!("{FORMER}{{}}\n");
    fs::write(&path, &bad).unwrap();
    let error = LetterStore::open(state.path(), 1 << 20).unwrap_err().to_string();
    assert!(error.contains("line 5 is no dead letter") && error.contains("--fresh"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    fs::write(&path, "").unwrap();
    assert_eq!(open(state.path()).holding().letters, 0);
}

#[test]
fn an_exported_event_keeps_its_data_to_the_digit_and_says_why() {
    let text = String::from_utf8(letter(3).cloud_event().unwrap()).unwrap();
    assert!(text.contains(r#""data":{"z":1.50,"a":3}"#), "{text}");
    assert!(text.contains(r#""meshloomreason":"BAD_LINE""#) && text.contains(r#""meshloomattempts":1"#), "{text}");
    assert!(text.contains(r#""meshloomnode":"filter""#) && text.contains(r#""id":"3""#), "{text}");
    let tampered = LetterRecord { event: RawValue::from_string("{}".into()).unwrap(), ..letter(1) };
    assert!(tampered.cloud_event().is_none());
}
