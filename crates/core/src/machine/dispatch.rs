//! Which events go into the next work, and to which replica.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, Letter, NodeMachine,
    accounting::InHand,
    hop::OpenHop,
    segment::{Isolation, Segment, since},
    wire_attempts,
};
use crate::{
    batch::{Batch, SpanContext},
    exchange::{Limits, Work},
    moment::Moment,
};

/// How long a partial batch waits when every replica has something in hand and no linger was asked for.
const SHORT_LINGER: Duration = Duration::from_millis(5);

/// One replica as the machine sees it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) up: bool,
    pub(super) limits: Limits,
    pub(super) works: BTreeMap<u64, InHand>,
    pub(super) reports_progress: bool,
    pub(super) restarting: bool,
    /// When its stream last said anything, or its oldest work was sent if that is later.
    pub(super) heard: Moment,
    next_sequence: u64,
}

impl Replica {
    pub(super) fn set_limits(&mut self, limits: Limits, now: Moment) {
        self.limits = limits;
        self.heard = now;
    }

    pub(super) fn has_place(&self) -> bool {
        self.up && !self.restarting && (self.works.len() as u64) < u64::from(self.limits.works)
    }

    fn events_in_hand(&self) -> u64 {
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
        while let Some(replica) = self.best_replica() {
            let allowed = match self.pace.allows(now) {
                Ok(allowed) => allowed,
                Err(later) => {
                    self.linger_until = Some(later);
                    break;
                }
            };
            let limits = self.replicas[replica].limits;
            let idle = self.replicas[replica].works.is_empty();
            let Some(segment) = self.next_work(now, limits, allowed, idle, room) else {
                break;
            };
            room = room.saturating_sub(2 * segment.batch.bytes() as u64);
            self.pace.spend(segment.len());
            self.send(replica, segment, now);
        }
        self.pressed = false;
    }

    fn best_replica(&self) -> Option<usize> {
        let with_place = self.replicas.iter().enumerate().filter(|(_, replica)| replica.has_place());
        with_place.min_by_key(|(_, replica)| replica.events_in_hand()).map(|(index, _)| index)
    }

    fn next_work(&mut self, now: Moment, limits: Limits, allowed: u32, idle: bool, room: u64) -> Option<Segment> {
        loop {
            let segment = match self.next_isolated(limits) {
                Some(segment) => segment,
                None => self.next_free(now, limits, allowed, idle)?,
            };
            // The first work of a node needs no room, so that an acyclic graph always drains; it is then of one event.
            let fits = 2 * segment.batch.bytes() as u64 <= room;
            let segment = match (fits, self.books.in_hand) {
                (true, _) => segment,
                (false, 0) => self.only_first(segment),
                (false, _) => {
                    self.starved = true;
                    self.ready.push_front(segment);
                    return None;
                }
            };
            if let Some(segment) = self.letter_too_large(segment, limits) {
                return Some(segment);
            }
        }
    }

    fn only_first(&mut self, mut segment: Segment) -> Segment {
        if segment.len() == 1 {
            return segment;
        }
        let first = segment.split_front(1);
        self.ready.push_front(segment);
        first
    }

    fn next_isolated(&mut self, limits: Limits) -> Option<Segment> {
        let halving = self.halving_in_hand;
        let may_go = |segment: &Segment| match segment.isolation {
            Isolation::None => false,
            Isolation::Exact => true,
            Isolation::Halving => !halving,
        };
        let place = self.ready.iter().position(may_go)?;
        let mut segment = self.ready.remove(place)?;
        if segment.len() > limits.events {
            let first = segment.split_front(limits.events);
            self.ready.insert(place, segment);
            segment = first;
        }
        Some(segment)
    }

    /// Gathers events that may be batched freely, or notes how long a partial batch waits.
    fn next_free(&mut self, now: Moment, limits: Limits, allowed: u32, idle: bool) -> Option<Segment> {
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
        let hurried = self.ended || self.draining || self.pressed || (idle && !explicit);
        let until = oldest + self.settings.linger.unwrap_or(SHORT_LINGER);
        if !full && !hurried && now < until {
            self.linger_until = Some(until);
            return None;
        }
        Some(self.gather(events, bytes))
    }

    /// At least one event, at most `events`, and no second one past `bytes`.
    fn gather(&mut self, events: u32, bytes: u64) -> Segment {
        let mut work = self.pop_free(events, bytes).expect("the caller saw an event");
        if work.len() >= events || work.batch.bytes() as u64 >= bytes {
            return work;
        }
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
        let mut rows = segment.len().min(events);
        if segment.batch.bytes() as u64 > bytes {
            let mut size = 0;
            let within = (0..rows).take_while(|row| {
                size += segment.batch.bytes_of(*row as usize) as u64;
                size <= bytes
            });
            rows = (within.count() as u32).max(1);
        }
        if rows < segment.len() {
            return Some(segment.split_front(rows));
        }
        match from_ready {
            Some(place) => self.ready.remove(place),
            None => self.queue.pop_front(),
        }
    }

    /// Makes letters of events that no work to this replica can hold; `None`: none is left.
    fn letter_too_large(&mut self, mut segment: Segment, limits: Limits) -> Option<Segment> {
        if segment.len() > 1 || segment.batch.bytes() as u64 <= limits.bytes {
            return Some(segment);
        }
        let message = format!(
            "the event has {} bytes, this node takes at most {}; raise the node's limit or make the event smaller",
            segment.batch.bytes(),
            limits.bytes
        );
        self.books.waiting -= 1;
        self.books.dead_lettered += 1;
        self.release_room(&segment);
        let attempts = segment.attempts.of(0);
        let deliveries = segment.deliveries.split_front(1);
        let batch = segment.batch.detach();
        self.actions.push(Action::Letter(Letter {
            batch,
            deliveries,
            reason: "EVENT_TOO_LARGE".into(),
            message,
            attempts,
        }));
        None
    }

    fn send(&mut self, replica: usize, segment: Segment, now: Moment) {
        self.release_room(&segment);
        let rows = segment.len();
        self.books.waiting -= u64::from(rows);
        self.books.in_hand += u64::from(rows);
        self.halving_in_hand |= segment.isolation == Isolation::Halving;
        let Segment { batch, deliveries, attempts, parts, isolation } = segment;
        let (batch, hops) = self.open_hops(batch);
        let target = &mut self.replicas[replica];
        let sequence = target.next_sequence;
        target.next_sequence += 1;
        if target.works.is_empty() {
            target.heard = now;
        }
        let work = Work {
            sequence,
            batch: batch.clone(),
            attempts: wire_attempts(&attempts, rows),
            timeout: self.settings.timeout,
        };
        let in_hand = InHand::new(batch, deliveries, attempts, parts, isolation, hops, now);
        target.works.insert(sequence, in_hand);
        self.actions.push(Action::Send { replica: replica as u32, work });
    }

    /// Gives each sampled event the id of its `receive` span as its context.
    fn open_hops(&mut self, batch: Batch) -> (Batch, Vec<OpenHop>) {
        if !batch.has_spans() {
            return (batch, Vec::new());
        }
        let hops: Vec<OpenHop> = batch
            .spans()
            .map(|(row, above)| {
                let context = SpanContext { span_id: self.ids.span_id(), ..above.clone() };
                OpenHop { row: row as u32, context, parent: Some(above.span_id) }
            })
            .collect();
        let batch = batch.with_spans(hops.iter().map(|hop| (hop.row, hop.context.clone())).collect());
        (batch, hops)
    }

    pub(super) fn release_room(&mut self, segment: &Segment) {
        for part in &segment.parts {
            let (events, bytes) = (i64::from(part.rows), part.bytes as i64);
            self.actions.push(Action::Room { edge: part.edge, events, bytes });
        }
    }

    pub(super) fn since_of(work: &InHand, row: u32) -> Moment {
        since(&work.parts, row)
    }
}
