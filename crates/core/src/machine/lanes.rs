//! Dispatch where an order holds: a key has one replica at a time, and an event goes when it has its turn.
//!
//! A key belongs to the replica that its hash names while that one is in use, and else to one of the others. Nothing of a
//! key goes anywhere while a work with it is unanswered, so it never moves to another replica before the old one has
//! answered it in full or is reported down, which for an ordered node means that its process is gone.

use super::{
    NodeMachine,
    dispatch::{Replica, SHORT_LINGER},
    order::Ticket,
    segment::{Isolation, Segment},
};
use crate::{batch::Batch, exchange::Limits, moment::Moment};

/// The replicas in use, ascending.
struct Hosts {
    replicas: usize,
    in_use: Vec<usize>,
}

impl Hosts {
    /// The replica that a lane belongs to now.
    fn of(&self, lane: u64) -> Option<usize> {
        let home = (lane % self.replicas as u64) as usize;
        if self.in_use.len() == self.replicas || self.in_use.binary_search(&home).is_ok() {
            return Some(home);
        }
        let others = self.in_use.len() as u64;
        (others > 0).then(|| self.in_use[((lane >> 32) % others) as usize])
    }
}

/// Events that may go together as the next work.
#[derive(Default)]
struct Picked {
    /// Of segments that are ready, by place.
    ready: Vec<(usize, Vec<u32>)>,
    /// Of segments of the queue, by place.
    queue: Vec<(usize, Vec<u32>)>,
    rows: u32,
    bytes: u64,
    full: bool,
    oldest: Option<Moment>,
}

impl NodeMachine {
    /// Sends works while there is a replica with a place, events of its lanes that have their turn, and room.
    pub(super) fn dispatch_in_order(&mut self, now: Moment, room: &mut u64) {
        let replicas = self.replicas.len();
        let mut without = 0;
        while without < replicas {
            let replica = self.lines.turn % replicas;
            self.lines.turn = replica + 1;
            without += 1;
            if !self.replicas[replica].has_place() || self.is_reserved(replica) {
                continue;
            }
            let allowed = match self.pace.allows(now) {
                Ok(allowed) => allowed,
                Err(later) => return self.wake_at(later),
            };
            let Some(allowed) = self.ramp_allows(allowed) else { return };
            if let Some(segment) = self.next_in_order(replica, now, allowed, *room) {
                self.spend_and_send(replica, segment, now, room);
                without = 0;
            }
        }
    }

    fn next_in_order(&mut self, replica: usize, now: Moment, allowed: u32, room: u64) -> Option<Segment> {
        let limits = self.replicas[replica].limits;
        loop {
            let segment = match self.isolated_at(replica) {
                Some(place) if self.ramp_holds(self.ready[place].len()) => return None,
                Some(place) => self.next_isolated(place, limits, room)?,
                None => self.next_picked(replica, now, limits, allowed, room)?,
            };
            if let Some(segment) = self.letter_too_large(replica, segment, limits, now) {
                return Some(segment);
            }
        }
    }

    fn hosts(&self) -> Hosts {
        let all = self.replicas.iter().enumerate();
        let in_use = all.filter(|(index, replica)| replica.takes_works() && !self.is_for_suspects_only(*index));
        Hosts { replicas: self.replicas.len(), in_use: in_use.map(|(index, _)| index).collect() }
    }

    /// Where a batch waits that must stay as it is, may go, and belongs to a replica.
    fn isolated_at(&self, replica: usize) -> Option<usize> {
        let hosts = self.hosts();
        let belongs = |segment: &Segment| hosts.of(segment.tickets[0].lane) == Some(replica);
        self.ready.iter().position(|segment| belongs(segment) && self.isolated_may_go(segment, false))
    }

    /// Takes events that may be batched freely, or notes how long a partial batch waits.
    fn next_picked(&mut self, replica: usize, now: Moment, limits: Limits, allowed: u32, room: u64) -> Option<Segment> {
        let explicit = self.settings.linger.is_some();
        let aim = if explicit { self.settings.batch_events } else { self.size.events() };
        let events = aim.min(limits.events).min(allowed).max(1);
        let bytes = self.settings.batch_bytes.min(limits.bytes);
        let picked = self.pick(replica, events, bytes);
        let until = picked.oldest? + self.settings.linger.unwrap_or(SHORT_LINGER);
        let idle = self.replicas[replica].works.is_empty();
        let used_up = 2 * picked.bytes > room;
        let hurried = self.ended || self.draining || self.pressed || used_up || (idle && !explicit);
        if !picked.full && !hurried && now < until {
            self.wake_at(until);
            return None;
        }
        let rows = self.affordable(picked.rows, picked.bytes as usize, room)?;
        Some(self.take(picked, rows))
    }

    /// At least one event if one may go, at most `events`, and no second one past `bytes`.
    fn pick(&mut self, replica: usize, events: u32, bytes: u64) -> Picked {
        let hosts = self.hosts();
        let mut picked = Picked::default();
        let mut tickets: Vec<Ticket> = Vec::new();
        let ready = self.ready.iter().enumerate().filter(|(_, segment)| segment.isolation == Isolation::None);
        let ready = ready.map(|(place, segment)| (true, place, segment));
        let queue = self.queue.iter().enumerate().map(|(place, segment)| (false, place, segment));
        'all: for (is_ready, place, segment) in ready.chain(queue) {
            let mut rows = Vec::new();
            for (row, ticket) in (0..).zip(&segment.tickets) {
                if picked.rows == events {
                    picked.full = true;
                } else if hosts.of(ticket.lane) == Some(replica) && self.lines.pick(*ticket) {
                    tickets.push(*ticket);
                    let size = segment.batch.bytes_of(row as usize) as u64;
                    picked.full = picked.rows > 0 && picked.bytes + size > bytes;
                    if !picked.full {
                        rows.push(row);
                        picked.rows += 1;
                        picked.bytes += size;
                        let since = segment.since(row);
                        picked.oldest = Some(picked.oldest.map_or(since, |known| known.min(since)));
                    }
                }
                if picked.full {
                    picked.note(is_ready, place, rows);
                    break 'all;
                }
            }
            picked.note(is_ready, place, rows);
        }
        picked.full |= picked.rows == events || picked.bytes >= bytes;
        self.lines.put_down(tickets);
        picked
    }

    /// Takes the first `rows` of what was picked out of what waits.
    fn take(&mut self, picked: Picked, mut rows: u32) -> Segment {
        let mut work: Option<(Segment, Vec<Batch>)> = None;
        let mut taken = 0;
        let places = picked.ready.into_iter().map(|place| (true, place));
        let places = places.chain(picked.queue.into_iter().map(|place| (false, place)));
        for (is_ready, (place, mut chosen)) in places {
            chosen.truncate(rows as usize);
            let from = if is_ready { &mut self.ready[place] } else { &mut self.queue[place] };
            let joins = work.as_ref().is_none_or(|(_, batches)| Batch::may_join(batches, &from.batch));
            if chosen.is_empty() || !joins {
                break;
            }
            rows -= chosen.len() as u32;
            let next = from.extract(&chosen);
            match &mut work {
                None => {
                    let batches = vec![next.batch.clone()];
                    work = Some((next, batches));
                }
                Some((work, batches)) => work.absorb(batches, next, taken),
            }
            taken += chosen.len() as u32;
        }
        self.ready.retain(|segment| !segment.is_empty());
        self.queue.retain(|segment| !segment.is_empty());
        let (mut work, batches) = work.expect("the caller saw an event");
        if batches.len() > 1 {
            work.batch = Batch::concat(&batches);
        }
        work
    }

    /// Events whose time has come may go: before those of their keys that wait for them.
    pub(super) fn make_ready(&mut self, due: Vec<Segment>) {
        if self.lines.is_on() {
            due.into_iter().rev().for_each(|segment| self.ready.push_front(segment));
        } else {
            self.ready.extend(due);
        }
    }

    /// Whether every event at the node waits behind one whose time has not come.
    pub(super) fn all_wait_behind_retries(&self) -> bool {
        let mut waiting = self.ready.iter().chain(&self.queue).flat_map(|segment| &segment.tickets);
        self.lines.is_on() && waiting.all(|ticket| !self.lines.is_first(*ticket))
    }
}

impl Picked {
    fn note(&mut self, is_ready: bool, place: usize, rows: Vec<u32>) {
        if !rows.is_empty() {
            if is_ready { &mut self.ready } else { &mut self.queue }.push((place, rows));
        }
    }
}

impl Replica {
    /// Whether it is in use, though it may have as much in hand as it takes.
    fn takes_works(&self) -> bool {
        self.in_service() && !self.breaker.is_open()
    }
}
