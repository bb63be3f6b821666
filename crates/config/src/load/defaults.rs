//! `defaults`: keys for every node that does not say otherwise.

use super::keys::{DEEP, KINDS};
use crate::yaml::{Entry, Value};

/// The entries of a node with those of `defaults` that it does not have itself.
pub(super) fn with_defaults(own: &[Entry], defaults: &[Entry]) -> Vec<Entry> {
    let mut entries = own.to_vec();
    let has_kind = own.iter().any(|entry| KINDS.contains(&entry.key.as_str()));
    for default in defaults {
        match entries.iter_mut().find(|entry| entry.key == default.key) {
            Some(entry) => {
                if let (true, Value::Map(own), Value::Map(more)) =
                    (DEEP.contains(&entry.key.as_str()), &mut entry.value.value, &default.value.value)
                {
                    let missing = more.iter().filter(|one| !own.iter().any(|known| known.key == one.key));
                    let missing: Vec<Entry> = missing.map(inherited).collect();
                    own.extend(missing);
                }
            }
            None if has_kind && KINDS.contains(&default.key.as_str()) => {}
            None => entries.push(inherited(default)),
        }
    }
    entries
}

fn inherited(entry: &Entry) -> Entry {
    Entry { inherited: true, ..entry.clone() }
}
