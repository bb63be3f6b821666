//! What the end of a replica says about the events that it had in hand.

use super::{
    NodeMachine,
    accounting::InHand,
    breaker::Breaker,
    segment::{Isolation, Segment},
    whole,
};
use crate::{exchange::Failure, moment::Moment};

/// Ends of replicas with the same events in hand, from which on these are tried alone.
const ENDS_TO_QUARANTINE: u32 = 2;
/// Deaths in a row with one event alone in hand that make it a letter.
const DEATHS_ALONE: u32 = 3;
/// Broken streams (or deaths) in a row that do: a connection breaks for many reasons.
const ENDS_ALONE: u32 = 5;

/// How a replica ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was ended by the coordinator (a restart, a drain) or with nothing in hand that it could be due to.
    Closed,
    /// Its process ended, which the coordinator had not signalled.
    Died {
        /// Signal or exit status, and its last lines on standard error.
        words: String,
    },
    /// Its stream broke while the process lives, or where the process is not the coordinator's.
    Lost {
        /// What was seen of it.
        why: String,
    },
}

/// What speaks against events that were in hand when replicas ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// Ends with these events in hand.
    ends: u32,
    /// Ends in a row with one event in hand and nothing else.
    ends_alone: u32,
    /// Deaths in a row among these.
    deaths_alone: u32,
}

impl Suspicion {
    /// Whether the events must be tried alone on a replica.
    pub(super) fn is_quarantined(self) -> bool {
        self.ends >= ENDS_TO_QUARANTINE
    }

    fn after(self, end: &End, alone: bool) -> Self {
        let died = matches!(end, End::Died { .. });
        Self {
            ends: self.ends + 1,
            ends_alone: if alone { self.ends_alone + 1 } else { 0 },
            deaths_alone: if alone && died { self.deaths_alone + 1 } else { 0 },
        }
    }

    /// The failure of an event that was alone in hand too often.
    fn verdict(self, end: &End) -> Option<Failure> {
        let times = self.ends_alone;
        match end {
            End::Died { words } if self.deaths_alone >= DEATHS_ALONE => {
                let message = format!(
                    "the process died {} times in a row with nothing but this event in hand: it {words}",
                    self.deaths_alone
                );
                Some(whole("POISON", message))
            }
            End::Died { words: why } | End::Lost { why } if times >= ENDS_ALONE => {
                let message =
                    format!("the stream broke {times} times in a row with nothing but this event in hand: {why}");
                Some(whole("STREAM_LOST", message))
            }
            _ => None,
        }
    }
}

impl NodeMachine {
    pub(super) fn replica_down(&mut self, replica: u32, end: &End, now: Moment) {
        let target = &mut self.replicas[replica as usize];
        target.up = false;
        target.heard = now;
        target.breaker = Breaker::default();
        // Whoever asked for a restart need not wonder that the stream breaks.
        let asked = std::mem::take(&mut target.restarting) && matches!(end, End::Lost { .. });
        let end = if asked { &End::Closed } else { end };
        let works = std::mem::take(&mut target.works);
        let alone = works.len() == 1;
        // The newest first, since each goes to the front of what waits.
        for mut work in works.into_values().rev() {
            self.give_up(replica, &mut work, end, alone, now);
            self.lines.ended(&work.tickets);
        }
    }

    /// Events of a work that was in hand when its replica ended: again at no cost, but as the same batch; from the second
    /// end on alone; then by halves; and an event that was alone too often becomes a letter.
    pub(super) fn suspect(&mut self, replica: u32, work: &mut InHand, end: &End, alone: bool, now: Moment) {
        let open = work.open_rows();
        let before = work.suspicion;
        work.suspicion = before.after(end, alone && work.rows() == 1);
        if let ([row], Some(failure)) = (&open[..], work.suspicion.verdict(end)) {
            return self.letter(replica, work, *row, Failure { index: Some(*row), ..failure }, now);
        }
        if work.isolation == Isolation::None {
            work.isolation = Isolation::Exact;
        }
        let Some(segment) = self.given_back(replica, work, &open, now) else { return };
        if work.suspicion.is_quarantined() {
            self.quarantine.admit(replica);
        }
        if before.is_quarantined() {
            self.put_halves(segment);
        } else {
            self.ready.push_front(segment);
        }
    }

    /// Puts the halves of a batch to the front of what waits, or an event that has none.
    pub(super) fn put_halves(&mut self, mut second: Segment) {
        let first = (second.len() > 1).then(|| second.split_front(second.len() / 2));
        self.ready.push_front(second);
        if let Some(first) = first {
            self.ready.push_front(first);
        }
    }
}
