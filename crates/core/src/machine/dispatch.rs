//! Which events go into the next work, and to which replica.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, NodeMachine,
    accounting::InHand,
    breaker::Breaker,
    choice::Speed,
    hop::OpenHop,
    segment::{Attempts, Isolation, Segment},
    stall::Stall,
    whole, wire_attempts,
};
use crate::{
    batch::{Batch, SpanContext},
    exchange::{Failure, Limits, Work},
    moment::Moment,
};

/// How long a partial batch waits when every replica has something in hand and no linger was asked for.
pub(super) const SHORT_LINGER: Duration = Duration::from_millis(5);

/// One replica as the machine sees it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) up: bool,
    pub(super) limits: Limits,
    pub(super) works: BTreeMap<u64, InHand>,
    pub(super) reports_progress: bool,
    pub(super) restarting: bool,
    /// It gets no more works, so that it can be restarted with nothing in hand.
    pub(super) resting: bool,
    /// When its stream last said anything, or its oldest work was sent if that is later.
    pub(super) heard: Moment,
    pub(super) speed: Speed,
    pub(super) breaker: Breaker,
    pub(super) stall: Stall,
    next_sequence: u64,
}

impl Replica {
    pub(super) fn set_limits(&mut self, limits: Limits, now: Moment) {
        self.limits = limits;
        self.heard = now;
    }

    /// Whether it takes works as far as its stream is concerned; its breaker may see it otherwise.
    pub(super) fn in_service(&self) -> bool {
        self.up && !self.restarting && !self.resting
    }

    pub(super) fn has_place(&self) -> bool {
        self.in_service() && self.breaker.admits() && (self.works.len() as u64) < u64::from(self.limits.works)
    }

    pub(super) fn events_in_hand(&self) -> u64 {
        self.works.values().map(|work| u64::from(work.open())).sum()
    }
}

impl NodeMachine {
    pub(super) fn replica_up(&mut self, replica: u32, limits: Limits, reports_progress: bool, now: Moment) {
        let replica = &mut self.replicas[replica as usize];
        debug_assert!(replica.works.is_empty(), "a replica came up with works of an earlier stream");
        *replica = Replica { up: true, limits, reports_progress, heard: now, next_sequence: 1, ..Replica::default() };
    }

    /// Sends works while there is a replica with a place, events for it, and room.
    pub(super) fn dispatch(&mut self, now: Moment, mut room: u64) {
        self.linger_until = None;
        self.starved = false;
        if self.paused.is_some() {
            return;
        }
        self.look_after_hold(now);
        if self.outage.holds() {
            return self.dispatch_held(now, &mut room);
        }
        self.look_after_quarantine(now);
        self.dispatch_suspect(false, now, &mut room);
        if self.lines.is_on() {
            self.dispatch_in_order(now, &mut room);
        } else {
            self.dispatch_anywhere(now, &mut room);
        }
        self.dispatch_suspect(true, now, &mut room);
        // Whoever waits above waits until the queue has been drawn up.
        self.pressed &= !self.queue.is_empty();
    }

    fn dispatch_anywhere(&mut self, now: Moment, room: &mut u64) {
        while let Some(replica) = self.best_replica(now) {
            let allowed = match self.pace.allows(now) {
                Ok(allowed) => allowed,
                Err(later) => {
                    self.linger_until = Some(later);
                    break;
                }
            };
            let Some(allowed) = self.ramp_allows(allowed) else { break };
            let Some(segment) = self.next_work(replica, now, allowed, *room) else {
                break;
            };
            self.spend_and_send(replica, segment, now, room);
        }
    }

    fn next_work(&mut self, replica: usize, now: Moment, allowed: u32, room: u64) -> Option<Segment> {
        let limits = self.replicas[replica].limits;
        let idle = self.places().any(|place| self.replicas[place].works.is_empty());
        loop {
            let segment = match self.isolated_place(false) {
                Some(place) if self.ramp_holds(self.ready[place].len()) => return None,
                Some(place) => self.next_isolated(place, limits, room)?,
                None => self.next_free(now, limits, allowed, idle, room)?,
            };
            if let Some(segment) = self.letter_too_large(replica, segment, limits, now) {
                return Some(segment);
            }
        }
    }

    /// How many of `rows` events of `bytes` bytes may go, or a note that they wait for room. The first work of a node
    /// needs none, so that an acyclic graph always drains; it is then of one event.
    pub(super) fn affordable(&mut self, rows: u32, bytes: usize, room: u64) -> Option<u32> {
        match (2 * bytes as u64 <= room, self.books.in_hand) {
            (true, _) => Some(rows),
            (false, 0) => Some(1),
            (false, _) => {
                self.starved = true;
                None
            }
        }
    }

    /// Where a batch waits that must stay as it is and may go, of those in quarantine or of the others.
    pub(super) fn isolated_place(&self, quarantined: bool) -> Option<usize> {
        self.ready.iter().position(|segment| self.isolated_may_go(segment, quarantined))
    }

    pub(super) fn isolated_may_go(&self, segment: &Segment, quarantined: bool) -> bool {
        let may_go = match segment.isolation {
            _ if segment.suspicion.is_quarantined() != quarantined => false,
            Isolation::None => false,
            Isolation::Exact => true,
            Isolation::Halving => !self.halving_in_hand,
        };
        may_go && (!self.lines.is_on() || self.lines.admit(&segment.tickets))
    }

    /// A batch that must stay as it is: cut only if the replica takes less than the one that it failed at, or for room.
    pub(super) fn next_isolated(&mut self, place: usize, limits: Limits, room: u64) -> Option<Segment> {
        let segment = &self.ready[place];
        let all = segment.len();
        let rows = segment.fitting(limits.events, limits.bytes);
        let bytes = segment.batch.slice(0..rows as usize).bytes();
        let rows = self.affordable(rows, bytes, room)?;
        if rows < all { Some(self.ready[place].split_front(rows)) } else { self.ready.remove(place) }
    }

    /// Gathers events that may be batched freely, or notes how long a partial batch waits.
    fn next_free(&mut self, now: Moment, limits: Limits, allowed: u32, idle: bool, room: u64) -> Option<Segment> {
        let explicit = self.settings.linger.is_some();
        let aim = if explicit { self.settings.batch_events } else { self.size.events() };
        let events = aim.min(limits.events).min(allowed).max(1);
        let bytes = self.settings.batch_bytes.min(limits.bytes);
        let free = |segment: &&Segment| segment.isolation == Isolation::None;
        let mut available = (0u64, 0u64);
        let mut oldest: Option<Moment> = None;
        for segment in self.ready.iter().filter(free).chain(&self.queue) {
            available.0 += u64::from(segment.len());
            available.1 += segment.batch.bytes() as u64;
            let since = segment.parts[0].since;
            oldest = Some(oldest.map_or(since, |known| known.min(since)));
            if available.0 >= u64::from(events) || available.1 >= bytes {
                break;
            }
        }
        let oldest = oldest?;
        let full = available.0 >= u64::from(events) || available.1 >= bytes;
        // With the budget used up nothing more will come to fill the batch.
        let used_up = 2 * available.1 > room;
        let hurried = self.ended || self.draining || self.pressed || used_up || (idle && !explicit);
        let until = oldest + self.settings.linger.unwrap_or(SHORT_LINGER);
        if !full && !hurried && now < until {
            self.linger_until = Some(until);
            return None;
        }
        let mut work = self.gather(events, bytes);
        let Some(rows) = self.affordable(work.len(), work.batch.bytes(), room) else {
            self.ready.push_front(work);
            return None;
        };
        if rows == work.len() {
            return Some(work);
        }
        let first = work.split_front(rows);
        self.ready.push_front(work);
        Some(first)
    }

    /// At least one event, at most `events`, and no second one past `bytes`.
    fn gather(&mut self, events: u32, bytes: u64) -> Segment {
        let mut work = self.pop_free(events, bytes).expect("the caller saw an event");
        let mut rows = work.len();
        let mut size = work.batch.bytes() as u64;
        let mut batches = vec![work.batch.clone()];
        while rows < events && size < bytes {
            let Some(next) = self.pop_free(events - rows, bytes - size) else {
                break;
            };
            if size + next.batch.bytes() as u64 > bytes || !Batch::may_join(&batches, &next.batch) {
                self.ready.push_front(next);
                break;
            }
            let (more, more_bytes) = (next.len(), next.batch.bytes() as u64);
            work.absorb(&mut batches, next, rows);
            rows += more;
            size += more_bytes;
        }
        if batches.len() > 1 {
            work.batch = Batch::concat(&batches);
        }
        work
    }

    /// The next segment that may be batched freely, cut to `events` and, but for its first event, to `bytes`.
    fn pop_free(&mut self, events: u32, bytes: u64) -> Option<Segment> {
        let from_ready = self.ready.iter().position(|segment| segment.isolation == Isolation::None);
        let segment = match from_ready {
            Some(place) => &mut self.ready[place],
            None => self.queue.front_mut()?,
        };
        let rows = segment.fitting(events, bytes);
        if rows < segment.len() {
            return Some(segment.split_front(rows));
        }
        match from_ready {
            Some(place) => self.ready.remove(place),
            None => self.queue.pop_front(),
        }
    }

    /// Makes a letter of an event that no work to this replica can hold; `None`: it was one.
    pub(super) fn letter_too_large(
        &mut self,
        replica: usize,
        segment: Segment,
        limits: Limits,
        now: Moment,
    ) -> Option<Segment> {
        if segment.len() > 1 || segment.batch.bytes() as u64 <= limits.bytes {
            return Some(segment);
        }
        let message = format!(
            "the event has {} bytes, this node takes at most {}; raise the node's limit or make the event smaller",
            segment.batch.bytes(),
            limits.bytes
        );
        let attempts = Attempts::One(segment.attempts.of(0) - 1);
        let mut work = self.take_in_hand(Segment { attempts, ..segment }, now);
        self.letter(replica as u32, &mut work, 0, Failure { index: Some(0), ..whole("EVENT_TOO_LARGE", message) }, now);
        None
    }

    pub(super) fn send(&mut self, replica: usize, segment: Segment, now: Moment) {
        let work = self.take_in_hand(segment, now);
        self.lines.sent(&work.tickets);
        self.halving_in_hand |= work.isolation == Isolation::Halving;
        let target = &mut self.replicas[replica];
        let sequence = target.next_sequence;
        target.next_sequence += 1;
        target.breaker.sent(sequence);
        if target.works.is_empty() {
            target.heard = now;
        }
        let wire = Work {
            sequence,
            batch: work.batch.clone(),
            attempts: wire_attempts(&work.attempts, work.rows()),
            timeout: self.settings.timeout,
        };
        target.works.insert(sequence, work);
        self.actions.push(Action::Send { replica: replica as u32, work: wire });
    }

    /// From waiting to in hand: gives the room back and opens the hops.
    pub(super) fn take_in_hand(&mut self, segment: Segment, now: Moment) -> InHand {
        for part in &segment.parts {
            let (events, bytes) = (i64::from(part.rows), part.bytes as i64);
            self.actions.push(Action::Room { edge: part.edge, events, bytes });
        }
        self.books.waiting -= u64::from(segment.len());
        self.books.in_hand += u64::from(segment.len());
        let (batch, hops) = self.open_hops(&segment.batch);
        InHand::new(Segment { batch, ..segment }, hops, now)
    }

    /// Gives each sampled event the id of its `receive` span as its context.
    fn open_hops(&mut self, batch: &Batch) -> (Batch, Vec<OpenHop>) {
        if !batch.has_spans() {
            return (batch.clone(), Vec::new());
        }
        let hops: Vec<OpenHop> = batch
            .spans()
            .map(|(row, above)| {
                let context = SpanContext { span_id: self.ids.span_id(), ..above.clone() };
                OpenHop { row: row as u32, context, parent: above.span_id }
            })
            .collect();
        let batch = batch.with_spans(hops.iter().map(|hop| (hop.row, hop.context.clone())).collect());
        (batch, hops)
    }
}
