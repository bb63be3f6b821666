//! Handlers that may be stuck: told of by name long before `timeout` ends them, so that a person can see where it hangs.

use std::time::Duration;

use super::{Action, NodeMachine, dispatch::Replica, patience::SILENCE};
use crate::{exchange::Call, moment::Moment};

/// A call that has been running for this long is told of.
const LONG: Duration = Duration::from_secs(5);
/// How long the same replica is not told of again: calls that are always long would fill the log.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of the calls of a replica.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When the oldest call that it last reported began.
    oldest: Option<Moment>,
    told: Option<Moment>,
}

impl Stall {
    fn may_tell(&self, now: Moment) -> bool {
        self.told.is_none_or(|told| now >= told + AGAIN)
    }
}

impl NodeMachine {
    /// Tells of the oldest call that a replica reports, if it has been running for long.
    pub(super) fn notice_long_call(&mut self, replica: u32, calls: &[Call], now: Moment) {
        let target = &mut self.replicas[replica as usize];
        let reported = calls.iter().filter(|call| target.works.contains_key(&call.sequence));
        let Some(call) = reported.max_by_key(|call| call.age) else {
            target.stall.oldest = None;
            return;
        };
        target.stall.oldest =
            Some(Moment(now.0.saturating_sub(u64::try_from(call.age.as_nanos()).unwrap_or(u64::MAX))));
        if call.age < LONG || !target.stall.may_tell(now) {
            return;
        }
        let work = &target.works[&call.sequence];
        let what = match call.index {
            Some(row) if row < work.rows() => format!("event {}", work.batch.uid(row as usize)),
            _ => format!("a batch of {} events", work.rows()),
        };
        target.stall.told = Some(now);
        let limit = what_ends_it(self.settings.timeout);
        let message = format!("a handler call has been running for {:.1?} ({what}); {limit}", call.age);
        self.actions.push(Action::Stalled { replica, message });
    }

    /// Tells of replicas that should have reported their calls and have not.
    pub(super) fn notice_silence(&mut self, now: Moment) {
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            if told_at(replica).is_none_or(|at| at > now) {
                continue;
            }
            replica.stall.told = Some(now);
            let limit = what_ends_it(self.settings.timeout);
            let message = format!(
                "it has said nothing for {:.1?} with {} works in hand: its process is stopped, or a call holds the lock of its interpreter; {limit}",
                now - replica.heard,
                replica.works.len()
            );
            self.actions.push(Action::Stalled { replica: index as u32, message });
        }
    }

    /// When a replica is told of, unless it says something before.
    pub(super) fn silence_is_told_at(&self) -> Option<Moment> {
        self.replicas.iter().filter_map(told_at).min()
    }

    /// When the oldest handler call of a replica began, as it last reported.
    pub fn oldest_call(&self, replica: u32) -> Option<Moment> {
        let replica = &self.replicas[replica as usize];
        replica.stall.oldest.filter(|_| !replica.works.is_empty())
    }
}

fn what_ends_it(timeout: Option<Duration>) -> String {
    timeout.map_or_else(|| "no `timeout` ends it".to_owned(), |timeout| format!("`timeout: {timeout:?}` ends it"))
}

fn told_at(replica: &Replica) -> Option<Moment> {
    let waits = replica.up && !replica.restarting && replica.reports_progress && !replica.works.is_empty();
    let silent = waits.then(|| replica.heard + SILENCE)?;
    Some(replica.stall.told.map_or(silent, |told| silent.max(told + AGAIN)))
}
