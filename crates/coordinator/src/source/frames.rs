//! Accepted frames in order, and how far everything has settled.

use std::collections::VecDeque;

use bytes::Bytes;
use meshloom_core::{batch::Batch, moment::Moment};

use crate::flow::Charge;

/// An accepted frame that is not below the position yet.
#[derive(Debug)]
pub(super) struct Frame {
    /// Its number on the stream that it came from, while that stream lives.
    pub(super) sequence: Option<u64>,
    /// Its number in the journal, if it is there.
    pub(super) journal: Option<u64>,
    pub(super) events: u64,
    /// When it was accepted.
    pub(super) admitted: Moment,
    pub(super) checkpoint: Option<Bytes>,
    pub(super) settled: bool,
    /// What cannot come again is kept until it has settled.
    pub(super) kept: Option<Batch>,
    /// Pays for the events of a source in this process until they have settled. Those of a stream have paid as they came.
    pub(super) memory: Option<Charge>,
    /// Pays for the checkpoint.
    pub(super) _charge: Charge,
}

/// The frames of a source, numbered over the life of this coordinator.
#[derive(Debug, Default)]
pub(super) struct Frames {
    open: VecDeque<Frame>,
    /// Number of the first of `open`.
    first: u64,
}

/// How far the position has moved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Advance {
    /// Events that it passed.
    pub(super) events: u64,
    /// The last checkpoint that it passed.
    pub(super) checkpoint: Option<Bytes>,
    /// The last frame that it passed, if its stream still lives.
    pub(super) sequence: Option<u64>,
    /// The last frame in the journal that it passed.
    pub(super) journal: Option<u64>,
    /// Events of the frames in the journal that it passed.
    pub(super) journalled: u64,
}

impl Frames {
    /// Number of the frame that is accepted next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.open.len() as u64
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.open.push_back(frame);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the first frame above the position was accepted.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.open.front().map(|frame| frame.admitted)
    }

    /// A frame that is not below the position; `None`: it was given up.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Frame> {
        self.open.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Moves past all frames below which everything has settled; `None`: there is none.
    pub(super) fn advance(&mut self) -> Option<Advance> {
        let mut advance: Option<Advance> = None;
        while self.open.front().is_some_and(|frame| frame.settled) {
            let Some(frame) = self.open.pop_front() else { break };
            self.first += 1;
            let advance = advance.get_or_insert_default();
            advance.events += frame.events;
            advance.sequence = frame.sequence;
            if frame.journal.is_some() {
                advance.journal = frame.journal;
                advance.journalled += frame.events;
            }
            advance.checkpoint = frame.checkpoint.or(advance.checkpoint.take());
        }
        advance
    }

    /// Gives everything up that is not below the position: the events, and those of them that had settled.
    pub(super) fn give_up(&mut self) -> (u64, u64) {
        let events = self.open.iter().map(|frame| frame.events).sum();
        let settled = self.open.iter().filter(|frame| frame.settled).map(|frame| frame.events).sum();
        self.first = self.next();
        self.open.clear();
        (events, settled)
    }

    /// The stream is gone, and with it the numbers that frames had on it.
    pub(super) fn forget_stream(&mut self) {
        self.open.iter_mut().for_each(|frame| frame.sequence = None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Budget;

    fn frame(sequence: u64, checkpoint: Option<&'static [u8]>) -> Frame {
        let checkpoint = checkpoint.map(Bytes::from_static);
        let _charge = Budget::new(1).take(0);
        Frame {
            sequence: Some(sequence),
            journal: sequence.checked_sub(1),
            events: 2,
            admitted: Moment(sequence),
            checkpoint,
            settled: false,
            kept: None,
            memory: None,
            _charge,
        }
    }

    #[test]
    fn a_frame_without_a_checkpoint_leaves_the_one_before_it() {
        let mut frames = Frames::default();
        frames.push(frame(1, Some(b"a")));
        frames.push(frame(2, None));
        frames.get_mut(0).unwrap().settled = true;
        frames.get_mut(1).unwrap().settled = true;
        let checkpoint = Some(Bytes::from_static(b"a"));
        let expected = Advance { events: 4, checkpoint, sequence: Some(2), journal: Some(1), journalled: 4 };
        assert_eq!(frames.advance(), Some(expected));
        assert_eq!(frames.advance(), None);
    }

    #[test]
    fn what_was_given_up_is_not_found_again() {
        let mut frames = Frames::default();
        frames.push(frame(1, None));
        frames.push(frame(2, None));
        frames.get_mut(1).unwrap().settled = true;
        assert_eq!(frames.give_up(), (4, 2));
        assert!(frames.get_mut(0).is_none() && frames.get_mut(1).is_none());
        assert_eq!(frames.next(), 2);
    }

    proptest! {
        /// In whatever order frames settle, the position is the contiguous low-water mark.
        #[test]
        fn the_position_is_the_contiguous_low_water_mark(order in Just((0u64..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut frames = Frames::default();
            (0..12).for_each(|sequence| frames.push(frame(sequence, None)));
            let mut settled = [false; 12];
            let mut passed = 0;
            for number in order {
                frames.get_mut(number).unwrap().settled = true;
                settled[number as usize] = true;
                let mark = settled.iter().take_while(|settled| **settled).count() as u64;
                let expected = (mark > passed).then(|| Advance {
                    events: 2 * (mark - passed),
                    checkpoint: None,
                    sequence: Some(mark - 1),
                    // The first frame is not in the journal.
                    journal: (mark - 1).checked_sub(1),
                    journalled: 2 * (mark - passed - u64::from(passed == 0)),
                });
                prop_assert_eq!(frames.advance(), expected);
                prop_assert_eq!((frames.len() as u64, frames.is_empty()), (12 - mark, mark == 12));
                passed = mark;
            }
        }
    }
}
