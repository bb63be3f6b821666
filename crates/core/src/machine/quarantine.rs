//! Events that may have killed their replica are tried alone on one, the ward, while other events flow: on the other
//! replicas, or in turns with them on the only one.

use std::time::Duration;

use super::{NodeMachine, Replica, segment::Segment};
use crate::moment::Moment;

/// How long a ward may be down before another replica becomes it. Longer than a process takes to start.
const WARD_PATIENCE: Duration = Duration::from_secs(30);

/// Where suspects are tried.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// The replica, while there are suspects.
    ward: Option<u32>,
    /// Other works that the ward has had since the last suspect.
    others: u32,
}

impl Quarantine {
    /// Events that `replica` had in hand when it ended must be tried alone. It becomes the ward, being down already.
    pub(super) fn admit(&mut self, replica: u32) {
        if self.ward.is_none() {
            *self = Self { ward: Some(replica), others: 0 };
        }
    }

    /// A work was sent.
    pub(super) fn sent(&mut self, replica: usize, suspect: bool) {
        if self.ward == Some(replica as u32) {
            self.others = if suspect { 0 } else { self.others + 1 };
        }
    }
}

impl NodeMachine {
    /// The replica at which suspects are tried alone, if there are any. It should be started again soon.
    pub fn ward(&self) -> Option<u32> {
        self.quarantine.ward
    }

    /// Whether a replica is kept free of works that are not suspect.
    pub(super) fn is_reserved(&self, replica: usize) -> bool {
        self.quarantine.ward == Some(replica as u32)
            && (self.suspect_in_hand(replica) || self.is_turn_of_suspects(replica))
    }

    /// Where other replicas take the rest, the ward is for suspects only. Else it gets as many other works as it takes at
    /// once, and then a suspect.
    fn is_turn_of_suspects(&self, ward: usize) -> bool {
        self.other_up(ward).is_some()
            || (self.quarantine.others >= self.replicas[ward].limits.works && self.a_suspect_may_go())
    }

    /// Where an order holds, suspects may have to wait for events that are none.
    fn a_suspect_may_go(&self) -> bool {
        !self.lines.is_on() || self.isolated_place(true).is_some()
    }

    /// Whether a replica has no lanes, because suspects are tried there and others take the rest.
    pub(super) fn is_for_suspects_only(&self, replica: usize) -> bool {
        self.quarantine.ward == Some(replica as u32) && self.other_up(replica).is_some()
    }

    fn suspect_in_hand(&self, ward: usize) -> bool {
        self.replicas[ward].works.values().any(|work| work.suspicion.is_quarantined())
    }

    /// A replica besides the ward that takes the works which are not suspect.
    fn other_up(&self, ward: usize) -> Option<u32> {
        let is_in_use = |replica: &Replica| replica.up && !replica.restarting && replica.breaker.is_closed();
        let mut replicas = (0..).zip(&self.replicas);
        replicas.find(|(index, replica)| *index != ward as u32 && is_in_use(replica)).map(|(index, _)| index)
    }

    /// Closes the quarantine when nobody is in it, and moves it when its ward stays down.
    pub(super) fn look_after_quarantine(&mut self, now: Moment) {
        let Some(ward) = self.quarantine.ward else { return };
        let waits = self.ready.iter().any(|segment| segment.suspicion.is_quarantined());
        if !waits && !self.suspect_in_hand(ward as usize) {
            self.quarantine.ward = None;
        } else if self.ward_moves_at().is_some_and(|at| at <= now) {
            self.quarantine.ward = self.other_up(ward as usize);
        }
    }

    /// When another replica becomes the ward.
    pub(super) fn ward_moves_at(&self) -> Option<Moment> {
        let ward = self.quarantine.ward? as usize;
        let down = !self.replicas[ward].up && self.other_up(ward).is_some();
        down.then(|| self.replicas[ward].heard + WARD_PATIENCE)
    }

    /// Sends a suspect, if its ward has nothing in hand: when it is their turn, or `unused` says that nothing else wants
    /// to go there.
    pub(super) fn dispatch_suspect(&mut self, unused: bool, now: Moment, room: &mut u64) {
        let Some(ward) = self.quarantine.ward.map(|ward| ward as usize) else { return };
        let target = &self.replicas[ward];
        if !target.has_place() || !target.works.is_empty() || !(unused || self.is_turn_of_suspects(ward)) {
            return;
        }
        let limits = target.limits;
        while let Some(place) = self.isolated_place(true) {
            if let Err(later) = self.pace.allows(now) {
                self.linger_until = Some(later);
                return;
            }
            let Some(segment) = self.next_isolated(place, limits, *room) else { return };
            if let Some(segment) = self.letter_too_large(ward, segment, limits, now) {
                return self.spend_and_send(ward, segment, now, room);
            }
        }
    }

    /// Sends a work and takes it off what may go.
    pub(super) fn spend_and_send(&mut self, replica: usize, segment: Segment, now: Moment, room: &mut u64) {
        *room = room.saturating_sub(2 * segment.batch.bytes() as u64);
        self.pace.spend(segment.len());
        self.quarantine.sent(replica, segment.suspicion.is_quarantined());
        self.send(replica, segment, now);
    }
}
