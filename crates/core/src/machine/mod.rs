//! The node machine: all that decides what happens to an event at one node, with no I/O and no clock.
//!
//! The actor of the node feeds [`Event`]s with the present moment into [`NodeMachine::handle`] and carries the
//! [`Action`]s out, in order. The machine owns the node's queue, its batching, dispatch to replicas, the accounting of
//! every input of every work, retries, and the narrowing down of batches that fail as a whole.

mod accounting;
mod action;
mod batching;
mod breaker;
mod choice;
mod deaths;
mod dispatch;
mod failures;
mod hop;
mod lanes;
mod order;
mod outage;
mod pace;
mod patience;
mod pause;
mod quarantine;
mod ramp;
mod retry;
mod segment;
mod stall;
#[cfg(test)]
mod tests;
mod turns;
mod verdicts;

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

pub use self::{
    action::{Action, Letter},
    breaker::BreakerState,
    deaths::End,
    hop::{Hop, Verdict},
    order::Ordering,
    outage::{InOutage, OutagePolicy},
    pause::{Condition, OnExhausted, Standstill},
    retry::RetryPolicy,
    segment::{Attempts, Part, Segment},
};
use self::{
    batching::BatchSize, dispatch::Replica, hop::Ids, order::Lines, outage::Outage, pace::Pace, pause::Pause,
    quarantine::Quarantine, ramp::Ramp, retry::Retries,
};
use crate::{
    exchange::{Call, Failure, Limits, WorkResult},
    moment::Moment,
    outputs::NodeIdentity,
};

/// What a node's machine needs to know of its place in the pipeline.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pipeline and node, for identities.
    pub identity: NodeIdentity,
    /// Most events in a work.
    pub batch_events: u32,
    /// Most bytes in a work.
    pub batch_bytes: u64,
    /// How long a partial batch waits for more; `None`: not at all while a replica is idle, else 5 ms.
    pub linger: Option<Duration>,
    /// Time for a work that the adaptive batch size aims to stay under.
    pub latency: Duration,
    /// Time for one handler call; `None`: no limit (a node under a debugger).
    pub timeout: Option<Duration>,
    /// When a failed event is tried again, and how often.
    pub retry: RetryPolicy,
    /// What happens when its attempts are used up.
    pub on_exhausted: OnExhausted,
    /// When the node is out, and what happens then.
    pub outage: OutagePolicy,
    /// Most events per second; `None`: no limit.
    pub rate: Option<f64>,
    /// What order holds among the events of the node.
    pub ordering: Ordering,
    /// Whether a node below is ordered by key: then outputs must have the keys of their inputs.
    pub keys_go_on: bool,
    /// Seed of jitter and span ids.
    pub seed: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Events arrived on an edge.
    Arrived(Segment),
    /// A replica is ready.
    Up {
        /// The replica.
        replica: u32,
        /// How much it takes.
        limits: Limits,
        /// Whether it reports progress, so that silence means a stall.
        reports_progress: bool,
    },
    /// A replica's stream ended.
    Down {
        /// The replica.
        replica: u32,
        /// How.
        end: End,
    },
    /// A replica is to be restarted: it gets no more works until it has come up again.
    Rest {
        /// The replica.
        replica: u32,
    },
    /// A result, or a part of one.
    Result {
        /// The replica.
        replica: u32,
        /// The result.
        result: WorkResult,
    },
    /// A result that could not be decoded, of a sequence that could.
    Malformed {
        /// The replica.
        replica: u32,
        /// The work.
        sequence: u64,
        /// Whether it said that it was the last.
        last: bool,
        /// What is wrong with it.
        message: String,
    },
    /// New limits.
    Limits {
        /// The replica.
        replica: u32,
        /// The limits.
        limits: Limits,
    },
    /// What is running.
    Progress {
        /// The replica.
        replica: u32,
        /// The calls.
        calls: Vec<Call>,
    },
    /// An upstream waits for room, or the budget is used up: a linger ends at once.
    Pressed,
    /// No more events will arrive.
    InputsEnded,
    /// Every source of the pipeline is exhausted: an outage is not waited for without end.
    SourcesExhausted,
    /// An operator lets a paused node go on.
    Resume,
    /// Finish: a linger ends, waiting retries fire once.
    Drain,
    /// A deadline has passed or room in the budget has come free.
    Wake,
}

/// The books of a node: each input once, by its last verdict.
/// `received == answered + consumed + dead_lettered + in_hand + waiting` after every event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    /// Inputs that arrived.
    pub received: u64,
    /// Inputs closed by outputs.
    pub answered: u64,
    /// Inputs that ended with no output on purpose.
    pub consumed: u64,
    /// Inputs that became letters.
    pub dead_lettered: u64,
    /// Attempts that ended in a retry.
    pub retried: u64,
    /// Outputs.
    pub produced: u64,
    /// Inputs at replicas.
    pub in_hand: u64,
    /// Inputs in the queue and in retry.
    pub waiting: u64,
    /// Answers to works that had been taken back.
    pub late_results: u64,
}

/// The state of one node. See the module's documentation.
#[derive(Debug)]
pub struct NodeMachine {
    settings: Settings,
    queue: VecDeque<Segment>,
    /// Goes before the queue: retries that are due and work taken back.
    ready: VecDeque<Segment>,
    retries: Retries,
    lines: Lines,
    replicas: Vec<Replica>,
    quarantine: Quarantine,
    outage: Outage,
    paused: Option<Pause>,
    ramp: Ramp,
    size: BatchSize,
    pace: Pace,
    ids: Ids,
    books: Books,
    /// Halves of a failed batch run one after the other.
    halving_in_hand: bool,
    ended: bool,
    draining: bool,
    pressed: bool,
    starved: bool,
    /// When a lingering partial batch must go.
    linger_until: Option<Moment>,
    actions: Vec<Action>,
}

impl NodeMachine {
    /// A node with `replicas` replicas, all down.
    pub fn new(settings: Settings, replicas: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            retries: Retries::default(),
            lines: Lines::new(settings.ordering),
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            quarantine: Quarantine::default(),
            outage: Outage::default(),
            paused: None,
            ramp: Ramp::default(),
            size: BatchSize::new(settings.batch_events),
            pace: Pace::new(settings.rate),
            ids: Ids::new(settings.seed),
            books: Books::default(),
            halving_in_hand: false,
            ended: false,
            draining: false,
            pressed: false,
            starved: false,
            linger_until: None,
            actions: Vec::new(),
            settings,
        }
    }

    /// Takes in what happened at `now`, with `room` bytes left in the memory budget, and says what to do.
    pub fn handle(&mut self, event: Event, now: Moment, room: u64) -> Vec<Action> {
        match event {
            Event::Arrived(mut segment) => {
                segment.tickets = self.lines.enter(&segment.batch);
                self.books.received += u64::from(segment.len());
                self.books.waiting += u64::from(segment.len());
                self.queue.push_back(segment);
            }
            Event::Up { replica, limits, reports_progress } => self.replica_up(replica, limits, reports_progress, now),
            Event::Down { replica, end } => self.replica_down(replica, &end, now),
            Event::Rest { replica } => self.replicas[replica as usize].resting = true,
            Event::Result { replica, result } => self.result(replica, result, now),
            Event::Malformed { replica, sequence, last, message } => {
                self.malformed(replica, sequence, last, message, now)
            }
            Event::Limits { replica, limits } => self.replicas[replica as usize].set_limits(limits, now),
            Event::Progress { replica, calls } => self.progress(replica, &calls, now),
            Event::Pressed => self.pressed = true,
            Event::InputsEnded => self.ended = true,
            Event::SourcesExhausted => self.outage.sources_exhausted(now),
            Event::Resume => self.resume(),
            Event::Drain => {
                self.draining = true;
                let all = self.retries.fire_all();
                self.make_ready(all);
                self.outage.hurry(now);
            }
            Event::Wake => {}
        }
        self.notice_silence(now);
        self.run_out_of_patience(now);
        self.half_open(now);
        let due = self.retries.due(now);
        self.make_ready(due);
        self.dispatch(now, room);
        debug_assert!(self.books_balance(), "{:?}", self.books);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Wake`] must come at the latest.
    pub fn next_deadline(&self) -> Option<Moment> {
        let calls = [self.patience_ends(), self.silence_is_told_at()];
        let events = [self.retries.next(), self.linger_until, self.ward_moves_at(), self.next_half_open()];
        calls.into_iter().chain(events).flatten().min()
    }

    /// Whether work waits only for room in the memory budget.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether no event is at the node.
    pub fn is_idle(&self) -> bool {
        self.books.waiting == 0 && self.books.in_hand == 0
    }

    /// Whether nothing is at the node but what will not be tried soon: retries whose time has not come, and all of it while
    /// the node is paused or, in a drain, out.
    pub fn only_waits_for_retries(&self) -> bool {
        let none_ready = self.queue.is_empty() && self.ready.is_empty();
        let nothing_goes = none_ready || self.all_wait_behind_retries() || self.stands_still_to_the_end();
        nothing_goes && self.books.in_hand == 0
    }

    /// The books now.
    pub fn books(&self) -> Books {
        self.books
    }

    /// Works in hand at a replica.
    pub fn works_in_hand(&self, replica: u32) -> usize {
        self.replicas[replica as usize].works.len()
    }

    /// When a work in hand at a replica was sent, and since when its events had waited; `None`: it is not in hand.
    pub fn in_hand(&self, replica: u32, sequence: u64) -> Option<(Moment, &[Part])> {
        let work = self.replicas[replica as usize].works.get(&sequence)?;
        Some((work.dispatched, &work.parts))
    }

    /// Whether events wait that no replica can take.
    pub fn waits_for_replica(&self) -> bool {
        let kept_back = self.paused.is_some() || self.outage.holds();
        let nothing_goes = kept_back || (self.queue.is_empty() && self.ready.is_empty());
        !nothing_goes && self.places().next().is_none()
    }

    /// Takes everything back from the replicas and out of the queues, when the pipeline gives up on it: the events, and
    /// the last actions. In the books the events go on waiting, but for those of which [`drained`](Self::drained) is told.
    pub fn abandon(&mut self, now: Moment) -> (Vec<Segment>, Vec<Action>) {
        for replica in 0..self.replicas.len() as u32 {
            self.replica_down(replica, &End::Closed, now);
        }
        let mut left: Vec<Segment> = self.ready.drain(..).chain(self.queue.drain(..)).collect();
        left.extend(self.retries.fire_all());
        left.extend(self.take_paused());
        (left, std::mem::take(&mut self.actions))
    }

    /// Events given up on have become dead letters.
    pub fn drained(&mut self, events: u64) {
        self.books.waiting -= events;
        self.books.dead_lettered += events;
    }

    fn books_balance(&self) -> bool {
        let Books { received, answered, consumed, dead_lettered, in_hand, waiting, .. } = self.books;
        received == answered + consumed + dead_lettered + in_hand + waiting
    }
}

/// A failure of the whole work that the machine itself states.
fn whole(reason: &'static str, message: String) -> Failure {
    Failure {
        index: None,
        action: crate::exchange::Action::Retry,
        reason: Cow::Borrowed(reason),
        message,
        retry_after: None,
    }
}

/// Attempts of a work as its wire form wants them.
fn wire_attempts(attempts: &Attempts, rows: u32) -> Option<Arc<[u32]>> {
    match attempts {
        Attempts::One(1) => None,
        Attempts::One(n) => Some(std::iter::repeat_n(*n, rows as usize).collect()),
        Attempts::Each(each) => Some(each.as_slice().into()),
    }
}
