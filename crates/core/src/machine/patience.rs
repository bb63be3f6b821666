//! Handlers that take too long: cancelled, then restarted.

use std::time::Duration;

use super::{Action, NodeMachine, dispatch::Replica};
use crate::{exchange::Call, moment::Moment};

/// How long a cancelled work may take to end.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// A replica with work in hand reports once a second; after this long without a word it cannot.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

impl NodeMachine {
    pub(super) fn progress(&mut self, replica: u32, calls: &[Call], now: Moment) {
        self.replicas[replica as usize].heard = now;
        self.notice_long_call(replica, calls, now);
        let Some(timeout) = self.settings.timeout else {
            return;
        };
        let target = &mut self.replicas[replica as usize];
        for call in calls.iter().filter(|call| call.age > timeout) {
            let Some(work) = target.works.get_mut(&call.sequence) else {
                continue;
            };
            match call.index {
                Some(row) if row < work.rows() => drop(work.overdue.rows.insert(row)),
                Some(_) => continue,
                None => work.overdue.whole = true,
            }
            if work.cancelled.is_none() {
                work.cancelled = Some(now);
                self.actions.push(Action::Cancel { replica, sequence: call.sequence, reason: "TIMEOUT" });
            }
        }
    }

    /// Cancels what is silent for too long and restarts what does not end after a cancel.
    pub(super) fn run_out_of_patience(&mut self, now: Moment) {
        let Some(timeout) = self.settings.timeout else {
            return;
        };
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            if replica.restarting || !replica.up {
                continue;
            }
            let index = index as u32;
            if silent_until(replica, timeout).is_some_and(|until| until <= now)
                && let Some((sequence, work)) = replica.works.iter_mut().find(|(_, work)| work.cancelled.is_none())
            {
                work.cancelled = Some(now);
                work.overdue.whole = true;
                self.actions.push(Action::Cancel { replica: index, sequence: *sequence, reason: "TIMEOUT" });
            }
            if gives_up_at(replica).is_some_and(|at| at <= now) {
                replica.restarting = true;
                let why = format!(
                    "a handler call ran longer than `timeout: {timeout:?}` and did not end within {CANCEL_GRACE:?} after it was cancelled"
                );
                self.actions.push(Action::Restart { replica: index, why });
            }
        }
    }

    /// Nothing was read for a while, until `now`: that time is not counted against any replica.
    pub fn was_held_up(&mut self, now: Moment) {
        for replica in &mut self.replicas {
            replica.heard = now;
            replica.works.values_mut().filter_map(|work| work.cancelled.as_mut()).for_each(|at| *at = now);
        }
    }

    pub(super) fn patience_ends(&self) -> Option<Moment> {
        let timeout = self.settings.timeout?;
        let active = self.replicas.iter().filter(|replica| replica.up && !replica.restarting);
        active.filter_map(|replica| silent_until(replica, timeout).into_iter().chain(gives_up_at(replica)).min()).min()
    }
}

/// With no progress the oldest work counts as one call begun at the stream's last message.
fn silent_until(replica: &Replica, timeout: Duration) -> Option<Moment> {
    let waits = replica.reports_progress && replica.works.values().next().is_some_and(|work| work.cancelled.is_none());
    waits.then(|| replica.heard + timeout.max(SILENCE))
}

fn gives_up_at(replica: &Replica) -> Option<Moment> {
    replica.works.values().filter_map(|work| work.cancelled).min().map(|at| at + CANCEL_GRACE)
}
