//! Events on their way through a node, with what must not be lost of them.

use super::deaths::Suspicion;
use crate::{batch::Batch, moment::Moment, origin::Deliveries};

/// Which attempt the next one is, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempts {
    /// The same for every row.
    One(u32),
    /// One for each row.
    Each(Vec<u32>),
}

impl Attempts {
    /// The attempt of a row.
    pub fn of(&self, row: u32) -> u32 {
        match self {
            Self::One(n) => *n,
            Self::Each(each) => each[row as usize],
        }
    }

    /// These rows, `more` attempts later.
    pub fn select(&self, rows: &[u32], more: u32) -> Self {
        match self {
            Self::One(n) => Self::One(n + more),
            Self::Each(each) => {
                let first = each[rows[0] as usize];
                if rows.iter().all(|row| each[*row as usize] == first) {
                    Self::One(first + more)
                } else {
                    Self::Each(rows.iter().map(|row| each[*row as usize] + more).collect())
                }
            }
        }
    }

    /// Attempts made before the next one.
    pub(super) fn made(&self) -> Self {
        match self {
            Self::One(n) => Self::One(n - 1),
            Self::Each(each) => Self::Each(each.iter().map(|n| n - 1).collect()),
        }
    }

    pub(super) fn append(&mut self, rows: u32, other: &Self, other_rows: u32) {
        if rows == 0 {
            *self = other.clone();
            return;
        }
        if let (Self::One(a), Self::One(b)) = (&*self, other)
            && a == b
        {
            return;
        }
        let mut each: Vec<u32> = (0..rows).map(|row| self.of(row)).collect();
        each.extend((0..other_rows).map(|row| other.of(row)));
        *self = Self::Each(each);
    }
}

/// Neighbouring rows that came over one edge at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many.
    pub rows: u32,
    /// Their bytes, as charged to the edge's room.
    pub bytes: u64,
    /// Index of the edge among the node's inputs.
    pub edge: u32,
    /// Since when they wait.
    pub since: Moment,
}

/// How freely a segment may be batched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// With anything.
    None,
    /// A batch that failed as a whole, or whose replica died with it in hand: exactly these events again.
    Exact,
    /// Events of such a batch whose attempts have run out, or at a node that is known to work: alone, once more, after
    /// their siblings.
    Halving,
}

/// Events with their deliveries, attempts and provenance.
#[derive(Debug)]
pub struct Segment {
    /// The events.
    pub batch: Batch,
    /// One delivery per event.
    pub deliveries: Deliveries,
    /// Which attempt the next one is.
    pub attempts: Attempts,
    /// Where the events came from; the rows add up to the batch.
    pub parts: Vec<Part>,
    pub(super) isolation: Isolation,
    pub(super) suspicion: Suspicion,
}

impl Segment {
    /// Events that arrive at `now` over `edge`.
    pub fn arriving(batch: Batch, deliveries: Deliveries, edge: u32, now: Moment) -> Self {
        debug_assert_eq!(batch.len() as u32, deliveries.len());
        let part = Part { rows: batch.len() as u32, bytes: batch.bytes() as u64, edge, since: now };
        Self {
            batch,
            deliveries,
            attempts: Attempts::One(1),
            parts: vec![part],
            isolation: Isolation::None,
            suspicion: Suspicion::default(),
        }
    }

    /// Number of events.
    pub fn len(&self) -> u32 {
        self.batch.len() as u32
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether it is a batch that failed without naming an event.
    pub(super) fn has_failed_as_a_whole(&self) -> bool {
        self.isolation == Isolation::Exact && self.suspicion == Suspicion::default()
    }

    /// From now on a failure that names no event halves it.
    pub(super) fn narrow(&mut self) {
        self.isolation = Isolation::Halving;
    }

    /// How many of the first `rows` events fit into `bytes`; at least one.
    pub(super) fn fitting(&self, rows: u32, bytes: u64) -> u32 {
        let rows = rows.min(self.len());
        if self.batch.bytes() as u64 <= bytes {
            return rows;
        }
        let mut size = 0;
        let within = (0..rows).take_while(|row| {
            size += self.batch.bytes_of(*row as usize) as u64;
            size <= bytes
        });
        (within.count() as u32).max(1)
    }

    /// Takes the first `rows` events off.
    pub(super) fn split_front(&mut self, rows: u32) -> Self {
        debug_assert!(rows < self.len());
        let total = self.len();
        let batch = self.batch.slice(0..rows as usize);
        self.batch = self.batch.slice(rows as usize..total as usize);
        let deliveries = self.deliveries.split_front(rows);
        let (front, back) = match &self.attempts {
            Attempts::One(n) => (Attempts::One(*n), Attempts::One(*n)),
            Attempts::Each(each) => {
                let (front, back) = each.split_at(rows as usize);
                (Attempts::Each(front.to_vec()), Attempts::Each(back.to_vec()))
            }
        };
        self.attempts = back;
        let parts = self.split_parts(rows, &batch);
        Self { batch, deliveries, attempts: front, parts, isolation: self.isolation, suspicion: self.suspicion }
    }

    fn split_parts(&mut self, mut rows: u32, front: &Batch) -> Vec<Part> {
        let mut parts = Vec::with_capacity(1);
        let mut at = 0;
        while rows > 0 {
            let first = &mut self.parts[0];
            if first.rows <= rows {
                rows -= first.rows;
                at += first.rows;
                parts.push(self.parts.remove(0));
                continue;
            }
            let bytes = front.slice(at as usize..(at + rows) as usize).bytes() as u64;
            // An edge's room must end at exactly what it was charged, whatever each side makes of shared bytes.
            let bytes = bytes.min(first.bytes);
            parts.push(Part { rows, bytes, ..*first });
            first.rows -= rows;
            first.bytes -= bytes;
            rows = 0;
        }
        parts
    }

    /// Puts `other` behind these, as one batch to be. The batches are gathered by the caller.
    pub(super) fn absorb(&mut self, batches: &mut Vec<Batch>, other: Self, rows_so_far: u32) {
        self.attempts.append(rows_so_far, &other.attempts, other.len());
        self.parts.extend(other.parts);
        self.deliveries.append(other.deliveries);
        batches.push(other.batch);
    }
}

/// The parts of selected (ascending) rows of a batch, with their own bytes, that wait again since `now`.
pub(super) fn wait_again(parts: &[Part], batch: &Batch, rows: &[u32], now: Moment) -> Vec<Part> {
    let mut selected: Vec<Part> = Vec::with_capacity(1);
    let mut part = 0;
    let mut end = parts[0].rows;
    let mut current = usize::MAX;
    for row in rows {
        while *row >= end {
            part += 1;
            end += parts[part].rows;
        }
        let bytes = batch.bytes_of(*row as usize) as u64;
        match selected.last_mut() {
            Some(last) if current == part => {
                last.rows += 1;
                last.bytes += bytes;
            }
            _ => {
                current = part;
                selected.push(Part { rows: 1, bytes, edge: parts[part].edge, since: now });
            }
        }
    }
    selected
}

/// Since when a row waits.
pub(super) fn since(parts: &[Part], row: u32) -> Moment {
    let mut end = 0;
    for part in parts {
        end += part.rows;
        if row < end {
            return part.since;
        }
    }
    Moment::default()
}
