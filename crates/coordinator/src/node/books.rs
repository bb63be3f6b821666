//! What a node has done so far, for `status` and the summary.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use meshloom_core::{
    machine::{Books, BreakerState, Condition, NodeMachine, Part},
    moment::Moment,
};

use super::NodeMeters;

/// Longest handler time per event that the histogram tells apart.
const LONGEST: u64 = 3_600_000_000_000;
/// Time over which the current rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Where a node's time goes, summed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// In handlers, all calls.
    pub(crate) busy: Duration,
    /// The node had room but no work.
    pub(crate) waiting_for_work: Duration,
    /// Work waited for a replica.
    pub(crate) waiting_for_replica: Duration,
    /// Outputs waited for an edge below.
    pub(crate) waiting_below: Duration,
}

/// Shared between an actor, which writes once per turn, and those who ask.
#[derive(Debug)]
pub(crate) struct NodeBooks {
    page: Mutex<Page>,
    /// For metrics.
    pub(crate) meters: NodeMeters,
}

#[derive(Debug)]
struct Page {
    books: Books,
    times: Times,
    replicas: Vec<ReplicaPage>,
    /// How often the breaker of each replica has changed; those behind the last one never have.
    breaker_changes: Vec<u64>,
    condition: Option<Condition>,
    handler: Histogram<u64>,
    window: (Instant, u64),
    rate: f64,
}

/// What the machine knows of a replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplicaPage {
    /// In hand.
    pub(crate) works: u32,
    pub(crate) breaker: BreakerState,
    /// When the oldest of its running handler calls began.
    pub(crate) oldest_call: Option<Moment>,
}

/// A copy of the books at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) books: Books,
    pub(crate) times: Times,
    pub(crate) replicas: Vec<ReplicaPage>,
    pub(crate) condition: Option<Condition>,
    pub(crate) handler_p50: Duration,
    pub(crate) handler_p99: Duration,
    pub(crate) rate: f64,
}

impl NodeBooks {
    pub(crate) fn new() -> Self {
        let handler = Histogram::new_with_bounds(1, LONGEST, 2).expect("the bounds are legal");
        let page = Mutex::new(Page {
            books: Books::default(),
            times: Times::default(),
            replicas: Vec::new(),
            breaker_changes: Vec::new(),
            condition: None,
            handler,
            window: (Instant::now(), 0),
            rate: 0.0,
        });
        Self { page, meters: NodeMeters::new() }
    }

    /// Takes over the actor's state. Short, and never across an await.
    pub(crate) fn write(&self, machine: &NodeMachine, times: Times, replicas: u32) {
        let of_replica = |replica| ReplicaPage {
            works: machine.works_in_hand(replica) as u32,
            breaker: machine.breaker(replica),
            oldest_call: machine.oldest_call(replica),
        };
        let condition = machine.condition();
        let mut page = self.page();
        page.books = machine.books();
        page.times = times;
        page.replicas.clear();
        page.replicas.extend((0..replicas).map(of_replica));
        page.condition = condition;
    }

    /// A work was sent, with events that had waited since they came.
    pub(crate) fn sent(&self, dispatched: Moment, parts: &[Part]) {
        self.meters.sent(dispatched, parts);
    }

    /// A work of `events` inputs took `busy` in handlers, and was answered `elapsed` after it was sent.
    pub(crate) fn handled(&self, events: u32, busy: Duration, elapsed: Duration) {
        let each = u64::try_from(busy.as_nanos()).unwrap_or(LONGEST) / u64::from(events.max(1));
        self.page().handler.saturating_record_n(each.max(1), events.into());
        self.meters.answered(events, busy / events.max(1), elapsed);
    }

    /// The breaker of a replica has changed.
    pub(crate) fn breaker_changed(&self, replica: u32) {
        let changes = &mut self.page().breaker_changes;
        let place = replica as usize;
        changes.resize(changes.len().max(place + 1), 0);
        changes[place] += 1;
    }

    /// How often the breaker of a replica has changed.
    pub(crate) fn breaker_changes(&self, replica: usize) -> u64 {
        self.page().breaker_changes.get(replica).copied().unwrap_or_default()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut page = self.page();
        let closed = page.books.received - page.books.waiting - page.books.in_hand;
        let elapsed = page.window.0.elapsed();
        if elapsed >= RATE_WINDOW {
            page.rate = (closed - page.window.1) as f64 / elapsed.as_secs_f64();
            page.window = (Instant::now(), closed);
        } else if page.rate == 0.0 && !elapsed.is_zero() {
            page.rate = (closed - page.window.1) as f64 / elapsed.as_secs_f64().max(0.1);
        }
        let quantile = |q| Duration::from_nanos(page.handler.value_at_quantile(q));
        let (handler_p50, handler_p99) =
            if page.handler.is_empty() { Default::default() } else { (quantile(0.5), quantile(0.99)) };
        Snapshot {
            books: page.books,
            times: page.times,
            replicas: page.replicas.clone(),
            condition: page.condition.clone(),
            handler_p50,
            handler_p99,
            rate: page.rate,
        }
    }

    fn page(&self) -> std::sync::MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
