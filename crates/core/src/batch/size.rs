//! How many bytes events are.

use super::{Attribute, Batch, Column, Pin, Rows, Strings, Values};

/// Bytes of every event besides payload and attributes: its uid, its time, the end of its payload, and an index in each
/// of the eight string columns, which it may need once it is joined with others.
const EVENT: usize = 16 + 8 + 4 + 4 * Attribute::COUNT;

/// Bytes of a string besides itself: its end.
const STRING: usize = 4;

/// Bytes of an extension's value besides itself and its name: its end and its index.
const EXTENSION: usize = 8;

/// Bytes that an event adds to a frame, from the sizes of its parts; extensions with their names.
pub(super) fn event(
    payload: usize,
    strings: impl Iterator<Item = usize>,
    extensions: impl Iterator<Item = usize>,
) -> usize {
    let strings: usize = strings.map(|bytes| bytes + STRING).sum();
    let extensions: usize = extensions.map(|bytes| bytes + EXTENSION).sum();
    EVENT + payload + strings + extensions
}

impl Batch {
    /// Bytes of all events: payloads and attributes, each with its overhead in a frame. Values that events share are
    /// counted for each, so that the events make no larger frame, however they are cut and joined. Computed once.
    #[must_use]
    pub fn bytes(&self) -> usize {
        *self.0.bytes.get_or_init(|| self.count_bytes())
    }

    /// Bytes of the payloads alone: what a source's demand counts.
    #[must_use]
    pub fn payload_size(&self) -> usize {
        self.parts().payload.as_ref().map_or(0, |column| values(column, self.len()))
    }

    /// Bytes of one event, as in [`bytes`](Self::bytes).
    #[must_use]
    pub fn bytes_of(&self, row: usize) -> usize {
        let parts = self.parts();
        let strings = parts.strings.iter().flatten().filter_map(|column| {
            let slot = column.data.slot(column.row(row)?)?;
            Some(column.data.values.size(slot))
        });
        let extensions = parts.extensions.iter().filter_map(|column| {
            let entry = column.data.entry(column.row(row)?)?;
            Some(column.data.name.len() + column.data.values.size(entry))
        });
        let span = self.span(row).map_or(0, |span| span.bytes());
        event(self.payload(row).len(), strings, extensions) + span
    }

    fn count_bytes(&self) -> usize {
        let (parts, len) = (self.parts(), self.len());
        let attributes: usize = parts.strings.iter().flatten().map(|column| strings(column, len)).sum();
        let extensions: usize = parts
            .extensions
            .iter()
            .map(|column| {
                let name = column.data.name.len() + EXTENSION;
                (0..len)
                    .filter_map(|row| column.data.entry(column.row(row)?))
                    .map(|entry| name + column.data.values.size(entry))
                    .sum::<usize>()
            })
            .sum();
        let spans: usize = self.spans().map(|(_, span)| span.bytes()).sum();
        len * EVENT + self.payload_size() + attributes + extensions + spans
    }

    /// Bytes of the memory that the batch keeps from being freed.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        let parts = self.parts();
        let pins = [&parts.uid, &parts.time]
            .into_iter()
            .flatten()
            .map(|column| &column.pin)
            .chain(parts.payload.iter().map(|column| &column.pin))
            .chain(parts.strings.iter().flatten().map(|column| &column.pin))
            .chain(parts.extensions.iter().map(|column| &column.pin))
            .flatten();
        // A batch lives in few memories: a short list beats a set.
        let mut distinct: Vec<&Pin> = Vec::new();
        for pin in pins {
            if !distinct.iter().any(|known| Pin::ptr_eq(known, pin)) {
                distinct.push(pin);
            }
        }
        distinct.into_iter().map(|pin| **pin).sum()
    }
}

fn values(column: &Column<Values>, len: usize) -> usize {
    match column.rows {
        Rows::All => column.data.data.len(),
        Rows::From(first) if len > 0 => column.data.end(first + len - 1) - column.data.start(first),
        Rows::From(_) => 0,
        Rows::Picked { .. } => (0..len).filter_map(|row| column.row(row)).map(|row| column.data.size(row)).sum(),
    }
}

fn strings(column: &Column<Strings>, len: usize) -> usize {
    let strings = &column.data;
    if column.is_whole() && strings.index.is_empty() {
        return match strings.values.len() {
            1 => len * (strings.values.data.len() + STRING),
            _ => strings.values.data.len() + len * STRING,
        };
    }
    (0..len).filter_map(|row| strings.slot(column.row(row)?)).map(|slot| strings.values.size(slot) + STRING).sum()
}
