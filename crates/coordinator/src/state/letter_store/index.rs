//! Where the letters lie in the file: about 100 bytes of memory for each.

use std::collections::{BTreeMap, HashMap};

use super::record::Key;

/// The line of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// The letters that there are, by key and by generation. Generations follow each other as the lines do.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: BTreeMap<u64, Place>,
    generations: HashMap<Key, u64>,
    bytes: u64,
}

impl Index {
    /// Puts a letter in place of the one that has its key.
    pub(super) fn put(&mut self, generation: u64, place: Place) {
        if let Some(former) = self.generations.insert(place.key, generation)
            && let Some(former) = self.places.remove(&former)
        {
            self.bytes -= u64::from(former.bytes);
        }
        self.bytes += u64::from(place.bytes);
        self.places.insert(generation, place);
    }

    /// Removes the letter that has this very generation.
    pub(super) fn remove(&mut self, generation: u64) -> bool {
        let Some(place) = self.places.remove(&generation) else { return false };
        self.generations.remove(&place.key);
        self.bytes -= u64::from(place.bytes);
        true
    }

    pub(super) fn holds(&self, generation: u64) -> bool {
        self.places.contains_key(&generation)
    }

    /// The letter with this key.
    pub(super) fn find(&self, key: Key) -> Option<Place> {
        self.places.get(self.generations.get(&key)?).copied()
    }

    /// The letters behind a generation, oldest first.
    pub(super) fn after(&self, generation: u64) -> impl Iterator<Item = (u64, Place)> + '_ {
        let start = (std::ops::Bound::Excluded(generation), std::ops::Bound::Unbounded);
        self.places.range(start).map(|(generation, place)| (*generation, *place))
    }

    pub(super) fn len(&self) -> u64 {
        self.places.len() as u64
    }

    /// Bytes of the lines of all letters.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
