//! What an answer may say where an order holds: nothing of an event behind one of its key that will be tried again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    NodeMachine,
    accounting::{InHand, Refused},
    hop::{OpenHop, Verdict},
    segment::Isolation,
    verdicts::unaccounted,
};
use crate::{
    exchange::{Action as FailureAction, Failure, WorkResult},
    moment::Moment,
    outputs::Answer,
};

/// Inputs of a work that were taken back because an earlier one of their key failed. What the replica still says of them
/// is ignored: they are given to it again.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Whether the replica has named them.
    rows: BTreeMap<u32, bool>,
}

impl Held {
    /// Those that the replica will count as consumed if it says no more.
    pub(super) fn unnamed(&self) -> u32 {
        self.rows.values().filter(|named| !**named).count() as u32
    }

    /// The replica has named inputs.
    fn hear(&mut self, named: &BTreeSet<u32>) {
        self.rows.iter_mut().filter(|(row, _)| named.contains(row)).for_each(|(_, heard)| *heard = true);
    }
}

impl NodeMachine {
    /// Takes out of a result what it says of inputs that are held or will be; these are returned.
    pub(super) fn out_of_turn(&self, work: &mut InHand, result: &mut WorkResult) -> BTreeSet<u32> {
        if !self.lines.is_on() {
            return BTreeSet::new();
        }
        let outputs = result.outputs.iter().flat_map(|outputs| outputs.parents().named());
        let named: BTreeSet<u32> = outputs.chain(result.failures.iter().filter_map(|failure| failure.index)).collect();
        work.held.hear(&named);
        self.account_first(work, result, &named);
        let mut rows: BTreeSet<u32> = work.held.rows.keys().copied().collect();
        for row in self.behind(work, &result.failures) {
            rows.insert(row);
            if named.contains(&row) {
                work.held.rows.insert(row, true);
            }
        }
        work.stop_continuing(&rows);
        result.failures.retain(|failure| failure.index.is_none_or(|row| !rows.contains(&row)));
        rows
    }

    /// Names the inputs that a last result leaves out without having consumed them, before anything behind them is heard.
    fn account_first(&self, work: &InHand, result: &mut WorkResult, named: &BTreeSet<u32>) {
        if !result.last || result.failures.iter().any(|failure| failure.index.is_none()) {
            return;
        }
        let mut unnamed = work.open_rows();
        unnamed.retain(|row| !named.contains(row) && !work.goes_on(*row));
        if result.consumed != unnamed.len() as u32 + work.held.unnamed() {
            let failure = unaccounted(work.rows() - unnamed.len() as u32, work.rows(), result.consumed);
            result.failures.extend(unnamed.into_iter().map(|row| Failure { index: Some(row), ..failure.clone() }));
        }
    }

    /// The open inputs behind those of their key that failed and will be tried again, ascending; and those that were held
    /// behind one that will not.
    pub(super) fn behind(&self, work: &InHand, failures: &[Failure]) -> Vec<u32> {
        if !self.lines.is_on() {
            return Vec::new();
        }
        let open = work.open_rows();
        let mut first: HashMap<u64, u32> = HashMap::new();
        let (mut held, mut exhausted) = (Vec::new(), HashMap::new());
        for failure in failures.iter().filter(|failure| failure.action == FailureAction::Retry) {
            let Some(row) = failure.index.filter(|row| open.binary_search(row).is_ok()) else { continue };
            let ticket = work.tickets[row as usize];
            if ticket.number == 0 {
                continue;
            }
            if failure.reason == "KEY_HELD" {
                held.push((ticket.lane, row));
            }
            let earliest = if self.is_final(work, row, failure) { &mut exhausted } else { &mut first };
            earliest.entry(ticket.lane).and_modify(|first| *first = row.min(*first)).or_insert(row);
        }
        let waits_for_none = |(lane, row): &(u64, u32)| exhausted.get(lane).is_some_and(|first| row > first);
        let free: BTreeSet<u32> = held.into_iter().filter(waits_for_none).map(|(_, row)| row).collect();
        let is_behind = |row: &u32| {
            let ticket = work.tickets[*row as usize];
            let retried = ticket.number > 0 && first.get(&ticket.lane).is_some_and(|first| row > first);
            retried || free.contains(row)
        };
        if first.is_empty() && free.is_empty() { Vec::new() } else { open.into_iter().filter(is_behind).collect() }
    }

    /// Takes back those of these inputs that are open.
    pub(super) fn hold_open(&mut self, replica: u32, work: &mut InHand, rows: &BTreeSet<u32>, now: Moment) {
        if !rows.is_empty() {
            let open: Vec<u32> = work.open_rows().into_iter().filter(|row| rows.contains(row)).collect();
            self.hold(replica, work, &open, now);
        }
    }

    /// Takes inputs back at no cost: they wait for an earlier one of their key.
    pub(super) fn hold(&mut self, replica: u32, work: &mut InHand, rows: &[u32], now: Moment) {
        if rows.is_empty() {
            return;
        }
        for row in rows {
            work.held.rows.entry(*row).or_insert(false);
        }
        self.end_hops(replica, work, rows, &Verdict::Redelivered, now);
        let above = rows.iter().zip(0..).filter_map(|(row, place)| Some((place, work.hop(*row).map(OpenHop::above)?)));
        let contexts = above.collect();
        let segment = self.take_back(work, rows, contexts, 0, Isolation::None, now);
        self.ready.push_front(segment);
    }

    /// Whether outputs have the keys of their inputs, where a node below is ordered by them.
    pub(super) fn keys_go_on(&self, work: &InHand, answer: &Answer) -> Result<(), Refused> {
        if !self.settings.keys_go_on {
            return Ok(());
        }
        let kept = |(output, parent): (usize, Option<u32>)| match parent {
            Some(parent) => answer.batch.key(output) == work.batch.key(parent as usize),
            None => false,
        };
        let Some(changed) = answer.parents.iter().enumerate().find(|output| !kept(*output)) else { return Ok(()) };
        let whose = match changed.1 {
            Some(parent) => format!("an output of input {parent} has another key than its input"),
            None => "an output of the whole batch has no key".to_owned(),
        };
        let why = "a node below is ordered by the key that the source has set";
        Err(("KEY_CHANGED", format!("{whose}, and {why}; leave the key as it is, or remove `ordering` there")))
    }
}
