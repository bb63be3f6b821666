//! Which events wait for which: a line for each key, in order of arrival.
//!
//! An event has its turn when nothing of its key is before it, and nothing of its key is at a replica. So no two
//! unanswered works share a key, whatever becomes of works: retries, halves and suspects need no order of their own.
//! Keys are told apart by 64 bits of hash: two that are equal in these share a line, which costs time and no order.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::batch::{Attribute, Batch};

/// What order holds at a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ordering {
    /// None.
    #[default]
    None,
    /// That of arrival among events with the same key; an event without one waits for nobody.
    Key,
    /// That of arrival among all events.
    All,
}

/// The place of an event in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The line; decides about the replica too.
    pub(super) lane: u64,
    /// Ascending by arrival; 0: the event is in no line.
    pub(super) number: u64,
}

/// The unfinished events of one key.
#[derive(Debug, Default)]
struct Line {
    /// The earliest; 0: none. Most lines have no other.
    first: u64,
    others: VecDeque<u64>,
    /// Whether a replica has a work with some of them that it has not answered in full.
    in_hand: bool,
    /// How many from the front were picked for the work that is being made up.
    picked: usize,
}

impl Line {
    fn push(&mut self, number: u64) {
        if self.first == 0 { self.first = number } else { self.others.push_back(number) }
    }

    fn get(&self, place: usize) -> Option<u64> {
        match place.checked_sub(1) {
            None => Some(self.first).filter(|first| *first > 0),
            Some(place) => self.others.get(place).copied(),
        }
    }

    fn before(&self, number: u64) -> Option<u64> {
        let place = self.others.binary_search(&number).ok()?;
        self.get(place)
    }

    fn remove(&mut self, number: u64) {
        if self.first == number {
            self.first = self.others.pop_front().unwrap_or_default();
        } else if let Ok(place) = self.others.binary_search(&number) {
            self.others.remove(place);
        }
    }

    fn is_over(&self) -> bool {
        self.first == 0 && !self.in_hand
    }
}

/// The lines of a node.
#[derive(Debug, Default)]
pub(super) struct Lines {
    ordering: Ordering,
    lines: HashMap<u64, Line>,
    /// Unfinished events that are in no line.
    free: u64,
    arrived: u64,
    /// The replica whose turn it is to get a work.
    pub(super) turn: usize,
}

impl Lines {
    pub(super) fn new(ordering: Ordering) -> Self {
        Self { ordering, ..Self::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.ordering != Ordering::None
    }

    /// Events that arrive take their places.
    pub(super) fn enter(&mut self, batch: &Batch) -> Vec<Ticket> {
        if !self.is_on() {
            return Vec::new();
        }
        let ticket = |row| {
            self.arrived += 1;
            let key = match self.ordering {
                Ordering::All => Some(&b""[..]),
                _ => batch.attribute_bytes(Attribute::Key, row),
            };
            let Some(key) = key else {
                // It goes wherever there is room, in turns.
                self.free += 1;
                return Ticket { lane: self.arrived, number: 0 };
            };
            let lane = hash(key);
            self.lines.entry(lane).or_default().push(self.arrived);
            Ticket { lane, number: self.arrived }
        };
        (0..batch.len()).map(ticket).collect()
    }

    /// Whether it is an event's turn behind those that have been picked; then it is picked too.
    pub(super) fn pick(&mut self, ticket: Ticket) -> bool {
        let Some(line) = self.lines.get_mut(&ticket.lane).filter(|_| ticket.number > 0) else { return true };
        let is_next = !line.in_hand && line.get(line.picked) == Some(ticket.number);
        line.picked += usize::from(is_next);
        is_next
    }

    /// Forgets what was picked.
    pub(super) fn put_down(&mut self, tickets: impl IntoIterator<Item = Ticket>) {
        for ticket in tickets {
            if let Some(line) = self.lines.get_mut(&ticket.lane).filter(|_| ticket.number > 0) {
                line.picked = 0;
            }
        }
    }

    /// Whether all these events may go as one work.
    pub(super) fn admit(&self, tickets: &[Ticket]) -> bool {
        let together: HashSet<u64> = tickets.iter().map(|ticket| ticket.number).collect();
        tickets.iter().all(|ticket| self.is_turn(*ticket, |earlier| together.contains(&earlier)))
    }

    /// How many events may have their turn at the same time, at most; `None`: all.
    pub(super) fn candidates(&self) -> Option<u64> {
        self.is_on().then(|| self.lines.len() as u64 + self.free)
    }

    /// Whether it is the event's turn as soon as nothing is at a replica.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        ticket.number == 0 || self.lines.get(&ticket.lane).is_some_and(|line| line.first == ticket.number)
    }

    fn is_turn(&self, ticket: Ticket, goes_too: impl Fn(u64) -> bool) -> bool {
        let Some(line) = self.lines.get(&ticket.lane).filter(|_| ticket.number > 0) else { return true };
        !line.in_hand && line.before(ticket.number).is_none_or(goes_too)
    }

    /// A work was sent.
    pub(super) fn sent(&mut self, tickets: &[Ticket]) {
        for ticket in tickets.iter().filter(|ticket| ticket.number > 0) {
            if let Some(line) = self.lines.get_mut(&ticket.lane) {
                line.in_hand = true;
            }
        }
    }

    /// Events (of these, by row) have their final verdict.
    pub(super) fn leave(&mut self, tickets: &[Ticket], rows: &[u32]) {
        if tickets.is_empty() {
            return;
        }
        for row in rows {
            let ticket = tickets[*row as usize];
            self.free -= u64::from(ticket.number == 0);
            self.change(ticket, |line| line.remove(ticket.number));
        }
    }

    /// A work was answered in full, or its replica is gone.
    pub(super) fn ended(&mut self, tickets: &[Ticket]) {
        for ticket in tickets {
            self.change(*ticket, |line| line.in_hand = false);
        }
    }

    fn change(&mut self, ticket: Ticket, change: impl FnOnce(&mut Line)) {
        let Some(line) = self.lines.get_mut(&ticket.lane).filter(|_| ticket.number > 0) else { return };
        change(line);
        if line.is_over() {
            self.lines.remove(&ticket.lane);
        }
    }
}

/// FNV-1a, then the mixer of splitmix64: the same for ever, so that a key keeps its replica over restarts.
fn hash(key: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    let mut z = key.iter().fold(0xCBF2_9CE4_8422_2325, fnv);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Event};

    fn enter(lines: &mut Lines, keys: &[Option<&str>]) -> Vec<Ticket> {
        let mut builder = BatchBuilder::new();
        keys.iter().for_each(|key| builder.push(Event { key: *key, ..Event::default() }).unwrap());
        lines.enter(&builder.finish())
    }

    #[test]
    fn an_event_has_its_turn_when_nothing_of_its_key_is_before_it() {
        let mut lines = Lines::new(Ordering::Key);
        let tickets = enter(&mut lines, &[Some("a"), Some("a"), Some("b"), None, Some("a")]);
        assert!(lines.admit(&tickets) && lines.admit(&tickets[..2]) && lines.admit(&tickets[2..4]));
        assert!(!lines.admit(&tickets[1..]));
        let picked: Vec<bool> = [0, 4, 1, 4].map(|row| lines.pick(tickets[row])).into();
        assert_eq!(picked, [true, false, true, true]);
        lines.put_down(tickets.clone());
        lines.sent(&tickets[..2]);
        assert!(!lines.admit(&tickets[4..]) && lines.admit(&tickets[2..3]));
        lines.leave(&tickets, &[0, 1]);
        assert!(!lines.admit(&tickets[4..]), "the work has not been answered in full");
        lines.ended(&tickets[..2]);
        assert!(lines.admit(&tickets[4..]));
    }

    #[test]
    fn what_leaves_out_of_order_leaves_the_others_in_theirs() {
        let mut lines = Lines::new(Ordering::All);
        let tickets = enter(&mut lines, &[None, Some("a"), Some("b")]);
        lines.leave(&tickets, &[1]);
        assert!(!lines.admit(&tickets[2..]));
        lines.leave(&tickets, &[0]);
        assert!(lines.admit(&tickets[2..]));
        lines.leave(&tickets, &[2]);
        assert!(lines.lines.is_empty());
    }

    #[test]
    fn as_many_may_have_their_turn_as_there_are_keys_and_events_without_one() {
        let mut lines = Lines::new(Ordering::Key);
        let tickets = enter(&mut lines, &[Some("a"), Some("a"), Some("b"), None, None]);
        assert_eq!(lines.candidates(), Some(4));
        let first: Vec<bool> = tickets.iter().map(|ticket| lines.is_first(*ticket)).collect();
        assert_eq!(first, [true, false, true, true, true]);
        lines.leave(&tickets, &[0, 2, 3]);
        assert_eq!(lines.candidates(), Some(2));
        assert!(lines.is_first(tickets[1]));
        assert_eq!(Lines::new(Ordering::None).candidates(), None);
    }

    #[test]
    fn without_an_order_nothing_is_kept() {
        let mut lines = Lines::new(Ordering::None);
        assert!(enter(&mut lines, &[Some("a"), None]).is_empty());
        assert!(lines.lines.is_empty());
    }

    #[test]
    fn a_key_has_the_same_lane_in_every_version() {
        assert_eq!(
            [&b""[..], b"sensor-1", "\u{1f427}".as_bytes()].map(hash),
            [0xF52A_15E9_A9B5_E89B, 0xA35D_8386_5B70_4E61, 0x13EC_2AFD_5B21_DA88]
        );
        let spread = (0..300).fold([0; 3], |mut count, key: u32| {
            count[(hash(key.to_string().as_bytes()) % 3) as usize] += 1;
            count
        });
        assert!(spread.iter().all(|count| (70..=130).contains(count)), "{spread:?}");
    }
}
