//! What a source that cannot replay is told as its frames become durable.

use std::collections::VecDeque;

use bytes::Bytes;
use meshloom_core::exchange::ToSource;

/// The frames of a stream that are not durable yet, and those behind them.
///
/// Each frame is told of once all its parts are durable, in whatever order that is: a part that became letters takes longer
/// than one in the journal. A checkpoint speaks for all before it too, so it is told once nothing before it is missing.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// By sequence, ascending.
    open: VecDeque<Receipt>,
}

#[derive(Debug)]
struct Receipt {
    sequence: u64,
    /// Parts that are not durable.
    missing: usize,
    checkpoint: Option<Bytes>,
}

impl Receipts {
    /// A frame was taken in, as so many parts: at least one.
    pub(super) fn expect(&mut self, sequence: u64, parts: usize, checkpoint: Option<Bytes>) {
        self.open.push_back(Receipt { sequence, missing: parts, checkpoint });
    }

    /// A part of a frame is durable. What there is to tell: nothing before the last part, or of another stream's frame.
    pub(super) fn durable(&mut self, sequence: u64) -> Option<ToSource> {
        let index = self.find(sequence)?;
        let receipt = &mut self.open[index];
        receipt.missing -= 1;
        if receipt.missing > 0 {
            return None;
        }
        let mut checkpoint = None;
        let whole = self.open.iter().take_while(|receipt| receipt.missing == 0).count();
        for receipt in self.open.drain(..whole) {
            checkpoint = receipt.checkpoint.or(checkpoint);
        }
        Some(ToSource::Settled { sequence, checkpoint })
    }

    /// A frame was not accepted, and its source has been told so.
    pub(super) fn refuse(&mut self, sequence: u64) {
        if let Some(index) = self.find(sequence) {
            self.open.remove(index);
        }
    }

    /// The stream is gone, and with it whom to tell.
    pub(super) fn forget_stream(&mut self) {
        self.open.clear();
    }

    fn find(&self, sequence: u64) -> Option<usize> {
        self.open.binary_search_by_key(&sequence, |receipt| receipt.sequence).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told once a part of a frame is durable: of which frame, and with which checkpoint.
    fn durable(receipts: &mut Receipts, sequence: u64) -> Option<(u64, Option<Bytes>)> {
        receipts.durable(sequence).map(|told| match told {
            ToSource::Settled { sequence, checkpoint } => (sequence, checkpoint),
            other => panic!("{other:?}"),
        })
    }

    fn told(sequence: u64, checkpoint: Option<&'static str>) -> Option<(u64, Option<Bytes>)> {
        Some((sequence, checkpoint.map(|text| Bytes::from_static(text.as_bytes()))))
    }

    fn of(frames: &[(u64, usize, Option<&'static str>)]) -> Receipts {
        let mut receipts = Receipts::default();
        for (sequence, parts, checkpoint) in frames {
            receipts.expect(*sequence, *parts, checkpoint.map(|text| Bytes::from_static(text.as_bytes())));
        }
        receipts
    }

    #[test]
    fn a_frame_is_told_of_with_its_checkpoint_once_all_its_parts_are_durable() {
        let mut receipts = of(&[(1, 2, Some("a")), (2, 1, None), (3, 1, Some("c"))]);
        assert_eq!(durable(&mut receipts, 1), None);
        assert_eq!(durable(&mut receipts, 1), told(1, Some("a")));
        assert_eq!(durable(&mut receipts, 2), told(2, None));
        assert_eq!(durable(&mut receipts, 3), told(3, Some("c")));
        assert_eq!(durable(&mut receipts, 3), None, "once");
    }

    #[test]
    fn a_checkpoint_waits_for_what_is_before_it() {
        let mut receipts = of(&[(1, 1, Some("a")), (2, 1, Some("b")), (3, 1, None), (4, 1, Some("d"))]);
        assert_eq!(durable(&mut receipts, 2), told(2, None));
        assert_eq!(durable(&mut receipts, 3), told(3, None));
        assert_eq!(durable(&mut receipts, 1), told(1, Some("b")), "the last of those that nothing is missing below");
        assert_eq!(durable(&mut receipts, 4), told(4, Some("d")));
    }

    #[test]
    fn what_was_refused_or_of_a_stream_that_is_gone_is_not_told_of() {
        let mut receipts = of(&[(1, 1, None), (2, 1, Some("b"))]);
        receipts.refuse(1);
        assert_eq!(durable(&mut receipts, 1), None);
        receipts.forget_stream();
        assert_eq!(durable(&mut receipts, 2), None);
    }
}
