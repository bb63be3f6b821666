//! Identities of the events of a source's frame.

use super::{Attribute, Batch};
use crate::ids::{SourceEvents, Uid};

impl Batch {
    /// The events with identities by the rule of sources, H(source, id). Every event has a source; `missing` says what an
    /// event without an id is, or why it is refused.
    pub fn with_source_uids<E>(&self, mut missing: impl FnMut(usize) -> Result<Uid, E>) -> Result<Self, E> {
        let mut uids = Vec::with_capacity(self.len());
        let mut current: Option<(&[u8], SourceEvents)> = None;
        for row in 0..self.len() {
            let Some(id) = self.attribute_bytes(Attribute::Id, row) else {
                uids.push(missing(row)?);
                continue;
            };
            let source = self.attribute_bytes(Attribute::Source, row).unwrap_or_default();
            let events = match &current {
                Some((known, events)) if *known == source => events,
                _ => &current.insert((source, SourceEvents::new(source))).1,
            };
            uids.push(events.uid(id));
        }
        Ok(self.with_uids(uids))
    }
}
