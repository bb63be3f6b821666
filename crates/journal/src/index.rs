//! Which frames are open and where they lie. Pure: fed with what was made durable.

use std::collections::BTreeMap;

use crate::format::{Entry, MARK_ENTRY, SOURCE_ENTRY};

/// Where a frame's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

/// A source as the log knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// All frames up to and with this one are settled, durably. 0: none.
    pub(crate) mark: u64,
    /// The last durable frame. 0: none.
    pub(crate) last: u64,
    /// Whether the log on disk has its name.
    pub(crate) declared: bool,
    open: BTreeMap<u64, Place>,
}

/// A segment as the log knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its length.
    pub(crate) bytes: u64,
    /// Frames in it that are not settled.
    pub(crate) open: u64,
}

/// Sources and segments.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) sources: Vec<Source>,
    pub(crate) segments: BTreeMap<u64, Segment>,
}

impl Source {
    /// A source without frames.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Index {
    /// Takes over the entries of a block that is durable. `payload`: where its frames' bytes begin in `segment`.
    ///
    /// Says what contradicts what was there before.
    pub(crate) fn apply(&mut self, segment: u64, payload: u64, entries: &[Entry]) -> Result<(), String> {
        let mut offset = payload;
        for entry in entries {
            match entry {
                Entry::Source { source, mark, last, name } => self.declare(*source, *mark, *last, name)?,
                Entry::Frame { source, sequence, length, crc } => {
                    let place = Place { segment, offset, length: *length, crc: *crc };
                    self.add(*source, *sequence, place)?;
                    offset += u64::from(*length);
                }
                Entry::Mark { source, through } => {
                    let known = self.known(*source)?;
                    if *through > known.last {
                        let (name, last) = (&known.name, known.last);
                        return Err(format!(
                            "frame {through} of source `{name}` is marked as settled, and {last} is its last"
                        ));
                    }
                    self.settle(*source, *through)?;
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, id: u32, mark: u64, last: u64, name: &str) -> Result<(), String> {
        if mark > last {
            return Err(format!("frame {mark} of source `{name}` is marked as settled, and {last} is its last"));
        }
        if id as usize == self.sources.len() {
            self.sources.push(Source::new(name));
        }
        let known = self.known(id)?;
        if known.name != name {
            return Err(format!("source {id} is called both `{}` and `{name}`", known.name));
        }
        if last < known.last {
            return Err(format!("source `{name}` goes back from frame {} to {last}", known.last));
        }
        (known.last, known.declared) = (last, true);
        self.settle(id, mark)
    }

    fn add(&mut self, id: u32, sequence: u64, place: Place) -> Result<(), String> {
        let known = self.known(id)?;
        if known.last.checked_add(1) != Some(sequence) {
            return Err(format!("frame {sequence} of source `{}` follows frame {}", known.name, known.last));
        }
        known.last = sequence;
        known.open.insert(sequence, place);
        self.segments.entry(place.segment).or_default().open += 1;
        Ok(())
    }

    fn settle(&mut self, id: u32, through: u64) -> Result<(), String> {
        let known = self.known(id)?;
        if through < known.mark {
            return Err(format!("the mark of source `{}` goes back from {} to {through}", known.name, known.mark));
        }
        known.mark = through;
        let open = known.open.split_off(&through.saturating_add(1));
        let settled = std::mem::replace(&mut known.open, open);
        for place in settled.into_values() {
            self.segments.entry(place.segment).or_default().open -= 1;
        }
        Ok(())
    }

    fn known(&mut self, id: u32) -> Result<&mut Source, String> {
        self.sources.get_mut(id as usize).ok_or_else(|| format!("source {id} has no name"))
    }

    /// Whether every frame above the marks is there.
    pub(crate) fn complete(&self) -> Result<(), String> {
        for Source { name, mark, last, open, .. } in &self.sources {
            let missing = last - mark - open.len() as u64;
            if missing > 0 {
                let first = (mark + 1..=*last).find(|sequence| !open.contains_key(sequence)).unwrap_or(*last);
                return Err(format!("{missing} unsettled frames of source `{name}` are missing, the first is {first}"));
            }
        }
        Ok(())
    }

    /// Where an unsettled frame lies.
    pub(crate) fn place(&self, source: u32, sequence: u64) -> Option<Place> {
        self.sources.get(source as usize)?.open.get(&sequence).copied()
    }

    /// Every source as an entry, for the start of a segment, in the order of their numbers.
    pub(crate) fn snapshot(&self) -> Vec<Entry> {
        let declared = self.sources.iter().enumerate().filter(|(_, source)| source.declared);
        declared.map(|(id, _)| self.source_entry(id as u32)).collect()
    }

    /// A source as an entry.
    pub(crate) fn source_entry(&self, id: u32) -> Entry {
        let Source { name, mark, last, .. } = &self.sources[id as usize];
        Entry::Source { source: id, mark: *mark, last: *last, name: name.clone() }
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Frames that are not settled.
    pub(crate) fn open(&self) -> u64 {
        self.segments.values().map(|segment| segment.open).sum()
    }

    /// Segments without an open frame, but for the current one; oldest first.
    pub(crate) fn wholly_settled(&self, current: u64) -> Vec<u64> {
        let settled = self.segments.iter().filter(|(id, segment)| **id != current && segment.open == 0);
        settled.map(|(id, _)| *id).collect()
    }
}

/// Bytes of the entries that a frame may bring along: its source and a mark of it.
pub(crate) const MAX_SOURCE_BYTES: usize = MARK_ENTRY + SOURCE_ENTRY + crate::limits::MAX_SOURCE_NAME_BYTES;

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
