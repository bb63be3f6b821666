use proptest::prelude::*;

use super::*;

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
        uid: format!("{n:032x}"),
        reason: "BAD_LINE".into(),
        message: "why".into(),
        attempts: 1,
        trace_id: None,
        event: RawValue::from_string(format!(
            r#"{{"specversion":"1.0","id":"{n}","source":"s","type":"t","data":{{"z":1.50,"a":{n}}}}}"#
        ))
        .unwrap(),
    }
}

fn open(state: &Path) -> LetterFile {
    let (store, cut) = LetterFile::open(state, 1 << 20).unwrap();
    assert_eq!(cut, 0);
    store
}

#[test]
fn letters_are_read_as_written_and_a_torn_line_is_cut() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.append(&[letter(1), letter(2)]).unwrap();
    drop(store);
    let path = LetterFile::path(state.path());
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":3").unwrap();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2)]);
    let (mut store, cut) = LetterFile::open(state.path(), 1 << 20).unwrap();
    assert_eq!(cut, 9);
    store.append(&[letter(4)]).unwrap();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2), letter(4)]);
}

#[test]
fn a_full_store_refuses_and_says_what_to_do_and_takes_letters_again_after_a_discard() {
    let state = tempfile::tempdir().unwrap();
    let size = serde_json::to_string(&letter(1)).unwrap().len() as u64 + 1;
    let (mut store, _) = LetterFile::open(state.path(), size).unwrap();
    store.append(&[letter(1)]).unwrap();
    let error = store.append(&[letter(2)]).unwrap_err().to_string();
    assert!(error.contains("dead_letters") && error.contains("dead-letters discard"), "{error}");
    assert_eq!(store.discard(&LetterFilter::default()).unwrap(), 1);
    store.append(&[letter(2)]).unwrap();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(2)]);
}

#[test]
fn what_a_crash_left_of_a_discard_before_its_rename_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.append(&[letter(1), letter(2)]).unwrap();
    let half = serde_json::to_string(&letter(2)).unwrap();
    fs::write(LetterFile::temporary(state.path()), &half[..half.len() / 2]).unwrap();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2)]);
    drop(store);
    let mut store = open(state.path());
    assert!(!LetterFile::temporary(state.path()).exists());
    // Nor does what a failure left while the store was open.
    fs::write(LetterFile::temporary(state.path()), "half").unwrap();
    let first = LetterFilter { uid: letter(1).uid(), ..LetterFilter::default() };
    assert_eq!(store.discard(&first).unwrap(), 1);
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(2)]);
}

#[test]
fn a_discard_that_cannot_be_written_leaves_every_letter() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.append(&[letter(1)]).unwrap();
    // A folder where the file beside it would be.
    fs::create_dir(LetterFile::temporary(state.path())).unwrap();
    store.discard(&LetterFilter::default()).unwrap_err();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1)]);
    fs::remove_dir(LetterFile::temporary(state.path())).unwrap();
    store.append(&[letter(2)]).unwrap();
    assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2)]);
}

#[test]
fn a_damaged_line_is_named_and_nothing_is_discarded() {
    let state = tempfile::tempdir().unwrap();
    let mut store = open(state.path());
    store.append(&[letter(1)]).unwrap();
    let path = LetterFile::path(state.path());
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{}\n").unwrap();
    let before = fs::read(&path).unwrap();
    let error = store.discard(&LetterFilter::default()).unwrap_err().to_string();
    assert!(error.contains("line 2 is no dead letter"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(!LetterFile::temporary(state.path()).exists());
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

proptest! {
    /// Against a list: whatever is appended and discarded in whatever order, with the file opened anew at any time.
    #[test]
    fn the_file_holds_what_was_appended_and_not_discarded(
        steps in prop::collection::vec((0u8..4, 0u64..30, 0u64..30), 1..25),
    ) {
        let state = tempfile::tempdir().unwrap();
        let mut store = open(state.path());
        let mut model: Vec<u32> = Vec::new();
        let mut next = 0;
        for (step, a, b) in steps {
            match step {
                0 | 1 => {
                    let letters: Vec<u32> = (next..next + a as u32 % 4 + 1).collect();
                    next += letters.len() as u32;
                    store.append(&letters.iter().map(|n| letter(*n)).collect::<Vec<_>>()).unwrap();
                    model.extend(letters);
                }
                2 => {
                    let before = model.len();
                    model.retain(|n| !(u64::from(*n) >= a && u64::from(*n) < b));
                    let filter = LetterFilter { since: Some(a), before: Some(b), ..LetterFilter::default() };
                    prop_assert_eq!(store.discard(&filter).unwrap(), (before - model.len()) as u64);
                }
                _ => {
                    drop(store);
                    store = open(state.path());
                }
            }
            let expected: Vec<LetterRecord> = model.iter().map(|n| letter(*n)).collect();
            prop_assert_eq!(LetterFile::read(state.path()).unwrap(), expected);
        }
    }
}
