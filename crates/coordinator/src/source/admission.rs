//! What makes events of what a source sends: identity, the attributes a source leaves to us, and the limit on their size.

use std::sync::Arc;

use meshloom_config::{EventView, Expression};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    ids::Uid,
};
use uuid::Uuid;

use crate::flow::event_of;

/// A frame that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its events, with uids.
    pub(crate) batch: Batch,
    /// Rows that become dead letters here, ascending.
    pub(crate) refused: Vec<Refusal>,
}

/// Why an event is not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The event.
    pub(crate) row: u32,
    /// Stable code.
    pub(crate) reason: &'static str,
    /// For a person.
    pub(crate) message: String,
}

/// The rules of one source.
#[derive(Debug)]
pub(crate) struct Admission {
    /// `PIPELINE/NODE`.
    pub(crate) default_source: Arc<str>,
    /// Ordering key of an event that has none.
    pub(crate) key: Option<Expression>,
    /// Largest event, bytes.
    pub(crate) max_event: u64,
}

impl Admission {
    /// Gives every event its identity. The error is for a person.
    pub(crate) fn admit(&self, batch: &Batch, replays: bool) -> Result<Admitted, String> {
        let mut batch = batch.with_default_source(&self.default_source);
        let mut refused = Vec::new();
        if let Some(key) = &self.key {
            batch = with_keys(&batch, key, &mut refused)?;
        }
        let batch = batch.with_source_uids(|row| {
            if replays {
                return Err(format!(
                    "event {row} of the frame has no id; a source that replays must give ids that stay the same"
                ));
            }
            Ok(Uid::from(Uuid::now_v7()))
        })?;
        if batch.bytes() as u64 > self.max_event {
            self.refuse_too_large(&batch, &mut refused);
        }
        Ok(Admitted { batch, refused })
    }

    fn refuse_too_large(&self, batch: &Batch, refused: &mut Vec<Refusal>) {
        for row in 0..batch.len() as u32 {
            let bytes = batch.bytes_of(row as usize) as u64;
            if bytes > self.max_event && refused.iter().all(|refusal| refusal.row != row) {
                let message = format!(
                    "the event has {bytes} bytes, `max_event` allows {}; raise it at the source",
                    self.max_event
                );
                refused.push(Refusal { row, reason: "EVENT_TOO_LARGE", message });
            }
        }
        refused.sort_by_key(|refusal| refusal.row);
    }
}

fn with_keys(batch: &Batch, key: &Expression, refused: &mut Vec<Refusal>) -> Result<Batch, String> {
    if (0..batch.len()).all(|row| batch.key(row).is_some()) {
        return Ok(batch.clone());
    }
    let mut builder = BatchBuilder::new();
    for row in 0..batch.len() {
        let extensions: Vec<_> = batch.extensions(row).collect();
        let mut made = None;
        if batch.key(row).is_none() {
            match key.evaluate_string(&EventView::of(batch, row)) {
                Ok(text) => made = Some(text),
                Err(error) => {
                    let message = format!("`key: {}`: {error}", key.source());
                    refused.push(Refusal { row: row as u32, reason: "KEY_FAILED", message });
                }
            }
        }
        let event = Event { extensions: &extensions, ..event_of(batch, row) };
        let event = Event { key: made.as_deref().or(event.key), uid: None, ..event };
        builder.push(event).map_err(|error| format!("the key made by `key: {}` is refused: {error}", key.source()))?;
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use meshloom_core::ids;

    use super::*;

    fn admission() -> Admission {
        Admission { default_source: "p/ingest".into(), key: None, max_event: 100 }
    }

    fn frame(ids: &[Option<&str>], size: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        for id in ids {
            builder.push(Event { payload: &vec![b'x'; size], id: *id, ..Event::default() }).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn the_identity_of_an_event_is_that_of_its_source_and_id() {
        let admitted = admission().admit(&frame(&[Some("a"), Some("b")], 1), true).unwrap();
        assert_eq!(admitted.batch.uid(0), ids::source_event("p/ingest", "a"));
        assert_eq!(admitted.batch.source(1), Some("p/ingest"));
        let again = admission().admit(&frame(&[Some("b")], 1), true).unwrap();
        assert_eq!(again.batch.uid(0), admitted.batch.uid(1));
    }

    #[test]
    fn only_a_source_that_cannot_replay_may_leave_the_id_out() {
        assert!(admission().admit(&frame(&[None], 1), true).unwrap_err().contains("no id"));
        let admitted = admission().admit(&frame(&[None, None], 1), false).unwrap();
        assert_ne!(admitted.batch.uid(0), admitted.batch.uid(1));
    }

    #[test]
    fn an_event_over_the_limit_is_named() {
        let admitted = admission().admit(&frame(&[Some("a"), Some("b")], 200), true).unwrap();
        let rows: Vec<u32> = admitted.refused.iter().map(|refusal| refusal.row).collect();
        assert_eq!(rows, [0, 1]);
    }
}
