//! Settlement by counting: every delivery of an event is counted at the frame that it came from.
//!
//! An [`Origin`] is an accepted source frame, or a join: the work whose whole batch one output came from. It counts open
//! deliveries; at zero it settles. A [`Deliveries`] handle stands for some of them. It must be consumed by
//! [`settle`](Deliveries::settle) or handed on; one that is dropped marks its origins lost, and lost means redelivery.
//! There is no path on which forgetting counts as success.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// How a frame ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All that came from it has a final verdict.
    Settled,
    /// A delivery was dropped without a verdict: the frame must be delivered again.
    Lost,
}

/// Where a source learns how its frames ended. Called from any thread; must not block.
///
/// A frame is reported once as `Lost` or once as `Settled`, never both.
pub trait Ledger: Send + Sync {
    /// Frame `frame` ended.
    fn closed(&self, frame: u64, outcome: Outcome);

    /// Whether lost frames come again. If not, what is given up must become dead letters instead.
    fn redelivers(&self) -> bool;
}

/// A counted origin of events.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    open: AtomicU64,
    lost: AtomicBool,
    above: Above,
}

enum Above {
    Frame { ledger: Arc<dyn Ledger>, frame: u64 },
    Join(Vec<Origin>),
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl Origin {
    /// An accepted frame of `events` events, and the one delivery that each has so far.
    pub fn frame(ledger: Arc<dyn Ledger>, frame: u64, events: u32) -> Deliveries {
        Self::counted(Above::Frame { ledger, frame }, events)
    }

    fn counted(above: Above, events: u32) -> Deliveries {
        let origin = Self(Arc::new(Inner { open: AtomicU64::new(events.into()), lost: AtomicBool::new(false), above }));
        Deliveries { runs: vec![Run { origin, len: events, open: events }] }
    }

    /// Deliveries still open.
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Acquire)
    }

    fn add(&self, deliveries: u32) {
        let before = self.0.open.fetch_add(deliveries.into(), Ordering::Relaxed);
        debug_assert!(before > 0, "a settled origin was revived");
    }

    fn release(&self, deliveries: u32) {
        let before = self.0.open.fetch_sub(deliveries.into(), Ordering::AcqRel);
        debug_assert!(before >= u64::from(deliveries), "an origin was settled twice");
        if before != u64::from(deliveries) {
            return;
        }
        match &self.0.above {
            Above::Frame { ledger, frame } => {
                if !self.0.lost.load(Ordering::Acquire) {
                    ledger.closed(*frame, Outcome::Settled);
                }
            }
            Above::Join(origins) => origins.iter().for_each(|origin| origin.release(1)),
        }
    }

    /// Told at once, not at zero: what else is open may take long, and the frame will be delivered again anyway.
    fn lose(&self) {
        if self.0.lost.swap(true, Ordering::AcqRel) {
            return;
        }
        match &self.0.above {
            Above::Frame { ledger, frame } => ledger.closed(*frame, Outcome::Lost),
            Above::Join(origins) => origins.iter().for_each(Origin::lose),
        }
    }

    fn redelivers(&self) -> bool {
        match &self.0.above {
            Above::Frame { ledger, .. } => ledger.redelivers(),
            Above::Join(origins) => origins.iter().all(Origin::redelivers),
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Neighbouring rows of one origin. `open` of the `len` rows have not been taken out yet.
#[derive(Debug)]
struct Run {
    origin: Origin,
    len: u32,
    open: u32,
}

/// One open delivery for each row of a batch, row by row.
#[derive(Debug, Default)]
#[must_use = "deliveries that are dropped are lost and will be redelivered"]
pub struct Deliveries {
    runs: Vec<Run>,
}

impl Deliveries {
    /// Deliveries of no rows: the start of a merge.
    pub fn none() -> Self {
        Self::default()
    }

    /// Rows, taken out or not.
    pub fn len(&self) -> u32 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Rows that have not been taken out.
    pub fn open(&self) -> u32 {
        self.runs.iter().map(|run| run.open).sum()
    }

    /// Every remaining row has its final verdict.
    pub fn settle(mut self) {
        for run in mem::take(&mut self.runs) {
            if run.open > 0 {
                run.origin.release(run.open);
            }
        }
    }

    /// Rows that would not come again if they were lost. No row may have been taken out.
    pub fn irreplaceable(&self) -> Vec<u32> {
        let mut start = 0;
        let mut rows = Vec::new();
        for run in &self.runs {
            if !run.origin.redelivers() {
                rows.extend(start..start + run.len);
            }
            start += run.len;
        }
        rows
    }

    /// The rows of `other` behind these.
    pub fn append(&mut self, mut other: Self) {
        for run in mem::take(&mut other.runs) {
            match self.runs.last_mut() {
                Some(last) if last.origin.is(&run.origin) => {
                    last.len += run.len;
                    last.open += run.open;
                }
                _ => self.runs.push(run),
            }
        }
    }

    /// Takes rows out, ascending and each at most once over the life of this handle. What remains keeps its row numbers.
    pub fn take(&mut self, rows: impl IntoIterator<Item = u32>) -> Self {
        let mut taken = Self::none();
        let mut cursor = Cursor::default();
        for row in rows {
            let run = cursor.seek(&self.runs, row);
            debug_assert!(self.runs[run].open > 0, "row {row} was taken twice");
            self.runs[run].open -= 1;
            taken.push(&self.runs[run].origin);
        }
        taken
    }

    /// Takes out every row that is left. What remains keeps its row numbers.
    pub fn take_all(&mut self) -> Self {
        let open = self.runs.iter_mut().filter(|run| run.open > 0);
        let taken = open.map(|run| {
            let open = mem::take(&mut run.open);
            Run { origin: run.origin.clone(), len: open, open }
        });
        Self { runs: taken.collect() }
    }

    /// Splits after `rows` rows; none may have been taken out.
    pub fn split_front(&mut self, mut rows: u32) -> Self {
        let mut front = Self::none();
        let mut whole = 0;
        for run in &mut self.runs {
            if rows == 0 {
                break;
            }
            debug_assert_eq!(run.len, run.open, "a split needs whole runs");
            let taken = rows.min(run.len);
            front.runs.push(Run { origin: run.origin.clone(), len: taken, open: taken });
            rows -= taken;
            run.len -= taken;
            run.open -= taken;
            whole += usize::from(run.len == 0);
        }
        debug_assert_eq!(rows, 0, "a split past the end");
        self.runs.drain(..whole);
        front
    }

    /// New deliveries for outputs whose parents are these rows (never falling, repeats allowed), counted before they exist.
    pub fn fork(&self, parents: impl IntoIterator<Item = u32>) -> Self {
        let mut forked = Self::none();
        let mut cursor = Cursor::default();
        for row in parents {
            let run = cursor.seek(&self.runs, row);
            forked.push(&self.runs[run].origin);
        }
        for run in &forked.runs {
            run.origin.add(run.len);
        }
        forked
    }

    /// A second delivery for every row, for one more edge of a fan-out.
    pub fn duplicate(&self) -> Self {
        debug_assert_eq!(self.len(), self.open(), "a duplicate of rows that were taken out");
        let runs = self.runs.iter().map(|run| Run { origin: run.origin.clone(), len: run.len, open: run.len });
        let copy = Self { runs: runs.collect() };
        for run in &copy.runs {
            run.origin.add(run.len);
        }
        copy
    }

    /// Deliveries for outputs of the whole batch: a join that holds one delivery at every distinct origin of the rows that
    /// are open. An origin whose rows have all been taken out may have settled and is past holding.
    pub fn join(&self, outputs: u32) -> Self {
        let mut origins: Vec<Origin> = Vec::new();
        for run in self.runs.iter().filter(|run| run.open > 0) {
            if !origins.iter().any(|known| known.is(&run.origin)) {
                run.origin.add(1);
                origins.push(run.origin.clone());
            }
        }
        Origin::counted(Above::Join(origins), outputs)
    }

    /// The distinct origins of the rows that are open.
    #[cfg(test)]
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for run in self.runs.iter().filter(|run| run.open > 0) {
            if !origins.iter().any(|known| known.is(&run.origin)) {
                origins.push(run.origin.clone());
            }
        }
        origins
    }

    fn push(&mut self, origin: &Origin) {
        match self.runs.last_mut() {
            Some(last) if last.origin.is(origin) => {
                last.len += 1;
                last.open += 1;
            }
            _ => self.runs.push(Run { origin: origin.clone(), len: 1, open: 1 }),
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        for run in self.runs.drain(..) {
            if run.open > 0 {
                run.origin.lose();
                run.origin.release(run.open);
            }
        }
    }
}

/// Walks runs by ascending row.
#[derive(Default)]
struct Cursor {
    run: usize,
    start: u32,
}

impl Cursor {
    fn seek(&mut self, runs: &[Run], row: u32) -> usize {
        debug_assert!(row >= self.start, "rows must ascend");
        while row >= self.start + runs[self.run].len {
            self.start += runs[self.run].len;
            self.run += 1;
        }
        self.run
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Book(Mutex<Vec<(u64, Outcome)>>);

    impl Ledger for Book {
        fn closed(&self, frame: u64, outcome: Outcome) {
            self.0.lock().expect("no panic while held").push((frame, outcome));
        }

        fn redelivers(&self) -> bool {
            true
        }
    }

    impl Book {
        fn ended(&self) -> Vec<(u64, Outcome)> {
            self.0.lock().expect("no panic while held").clone()
        }
    }

    fn frame(book: &Arc<Book>, number: u64, events: u32) -> Deliveries {
        Origin::frame(book.clone(), number, events)
    }

    #[test]
    fn a_frame_settles_when_the_last_row_does() {
        let book = Arc::new(Book::default());
        let mut all = frame(&book, 1, 3);
        all.take([1]).settle();
        all.take([0]).settle();
        assert!(book.ended().is_empty());
        all.settle();
        assert_eq!(book.ended(), [(1, Outcome::Settled)]);
    }

    #[test]
    fn a_dropped_handle_is_lost_at_once_and_never_settles() {
        let book = Arc::new(Book::default());
        let mut all = frame(&book, 1, 2);
        drop(all.take([0]));
        assert_eq!(book.ended(), [(1, Outcome::Lost)]);
        all.settle();
        assert_eq!(book.ended(), [(1, Outcome::Lost)]);
    }

    #[test]
    fn a_fan_out_settles_after_every_branch() {
        let book = Arc::new(Book::default());
        let one = frame(&book, 7, 2);
        let two = one.duplicate();
        one.settle();
        assert!(book.ended().is_empty());
        two.settle();
        assert_eq!(book.ended(), [(7, Outcome::Settled)]);
    }

    #[test]
    fn a_join_holds_every_origin_until_its_outputs_settle() {
        let book = Arc::new(Book::default());
        let mut both = frame(&book, 1, 2);
        both.append(frame(&book, 2, 1));
        let whole = both.join(2);
        both.settle();
        assert!(book.ended().is_empty());
        whole.settle();
        assert_eq!(book.ended(), [(1, Outcome::Settled), (2, Outcome::Settled)]);
    }

    #[test]
    fn a_join_leaves_out_origins_that_have_settled() {
        let book = Arc::new(Book::default());
        let mut both = frame(&book, 1, 2);
        both.append(frame(&book, 2, 1));
        both.take([0, 1]).settle();
        assert_eq!(book.ended(), [(1, Outcome::Settled)]);
        let whole = both.join(1);
        both.settle();
        whole.settle();
        assert_eq!(book.ended(), [(1, Outcome::Settled), (2, Outcome::Settled)]);
    }

    #[test]
    fn rows_of_one_frame_are_one_run_however_they_come_together() {
        let book = Arc::new(Book::default());
        let mut all = frame(&book, 1, 4);
        let mut odd = all.take([1]);
        odd.append(all.take([3]));
        assert_eq!(odd.runs.len(), 1);
        assert_eq!(all.take([0, 2]).runs.len(), 1);
        odd.append(frame(&book, 2, 1));
        assert_eq!(odd.runs.len(), 2);
        odd.take([0, 1]).settle();
        assert_eq!(odd.take_all().runs.len(), 1, "a run of which nothing is left is not handed on");
    }

    #[test]
    fn a_lost_join_loses_every_origin() {
        let book = Arc::new(Book::default());
        let mut both = frame(&book, 1, 1);
        both.append(frame(&book, 2, 1));
        let whole = both.join(1);
        both.settle();
        drop(whole);
        assert_eq!(book.ended(), [(1, Outcome::Lost), (2, Outcome::Lost)]);
    }

    /// A source that cannot send anything again.
    struct Passing;

    impl Ledger for Passing {
        fn closed(&self, _: u64, _: Outcome) {}

        fn redelivers(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_would_not_come_again_is_named_by_row_and_a_join_is_as_good_as_its_worst_origin() {
        let book = Arc::new(Book::default());
        let passing = || Origin::frame(Arc::new(Passing), 1, 2);
        let mut rows = frame(&book, 1, 3);
        rows.append(passing());
        rows.append(frame(&book, 2, 1));
        assert_eq!(rows.irreplaceable(), [3, 4]);
        let mut replaceable = frame(&book, 3, 1);
        replaceable.append(frame(&book, 4, 1));
        let mut joined = replaceable.join(1);
        joined.append(rows.join(2));
        assert_eq!(joined.irreplaceable(), [1, 2], "one of its origins would not come again");
        [rows, replaceable, joined].into_iter().for_each(Deliveries::settle);
    }

    #[test]
    fn an_empty_handle_says_nothing() {
        let book = Arc::new(Book::default());
        let mut all = frame(&book, 1, 1);
        drop(all.take([]));
        drop(Deliveries::none());
        assert!(book.ended().is_empty());
        all.settle();
    }

    proptest! {
        /// Against a row-by-row model: random takes, forks and splits; each row is settled or dropped at random.
        #[test]
        fn counts_like_a_set_of_rows(
            frames in prop::collection::vec(1u32..6, 1..6),
            fates in prop::collection::vec((0u8..4, any::<bool>()), 30),
        ) {
            let book = Arc::new(Book::default());
            let mut all = Deliveries::none();
            let mut owner = Vec::new();
            for (number, events) in frames.iter().enumerate() {
                all.append(frame(&book, number as u64, *events));
                owner.extend(std::iter::repeat_n(number as u64, *events as usize));
            }
            let mut lost = std::collections::BTreeSet::new();
            let mut held = Vec::new();
            for row in 0..all.len() {
                let (kind, settles) = fates[row as usize % fates.len()];
                let outputs = all.fork(std::iter::repeat_n(row, kind.into()));
                let input = all.take([row]);
                if kind == 0 && !settles {
                    lost.insert(owner[row as usize]);
                    drop(input);
                } else {
                    input.settle();
                }
                if kind > 0 {
                    held.push((row, settles, outputs));
                }
            }
            for (row, settles, outputs) in held {
                let mut outputs = outputs;
                let front = outputs.split_front(1);
                front.settle();
                if settles || outputs.is_empty() {
                    outputs.settle();
                } else {
                    lost.insert(owner[row as usize]);
                    drop(outputs);
                }
            }
            drop(all);
            let mut ended = book.ended();
            ended.sort_by_key(|(frame, _)| *frame);
            let expected: Vec<_> = (0..frames.len() as u64)
                .map(|frame| (frame, if lost.contains(&frame) { Outcome::Lost } else { Outcome::Settled }))
                .collect();
            prop_assert_eq!(ended, expected);
        }
    }
}
