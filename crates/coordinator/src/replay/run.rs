//! One replay, from its first letter to the verdict on its last.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use meshloom_core::{
    origin::{Origin, Outcome},
    outputs::Routes,
};
use meshloom_proto::v1;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tonic::Status;

use super::doors::{Doors, Way};
use crate::{
    flow::{Budget, Charge, LetterDesk, Outbox},
    phase::Phase,
    source::FrameLedger,
    state::{LetterFilter, LetterRecord, Page, SharedLetters},
};

/// Events that may be on their way.
const WINDOW_EVENTS: usize = 1024;
/// Bytes of letters that may be on their way, if they are several.
const WINDOW_BYTES: u64 = 4 << 20;
/// Letters read together.
const PAGE: usize = 256;
/// Time between two messages to the caller.
const TELL: Duration = Duration::from_millis(200);
/// Time between attempts while the disk refuses.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Replay {
    doors: Arc<Doors>,
    store: SharedLetters,
    budget: Budget,
    phase: watch::Receiver<Phase>,
    filter: LetterFilter,
    ledger: Arc<FrameLedger>,
    /// What waits for its place: for each node the way in, and the ways out.
    lanes: Vec<[Outbox; 2]>,
    /// What is on its way, by the number of its frame.
    open: HashMap<u64, Open>,
    next_frame: u64,
    /// Letters behind this generation are still to be sent.
    cursor: u64,
    /// Letters from this generation on have failed since: they are not sent again.
    end: u64,
    feeding: bool,
    /// Generations whose events have settled and that are still to be removed.
    settled: Vec<u64>,
    /// When to ask the disk again.
    again: Option<Instant>,
    draining: bool,
    /// The pipeline is given up, or has ended.
    over: bool,
    counts: v1::ReplayDeadLettersResponse,
    refused: BTreeMap<(String, String), u64>,
}

/// A letter on its way.
struct Open {
    generation: u64,
    bytes: u64,
    _charge: Charge,
}

impl Replay {
    pub(super) fn new(
        doors: Arc<Doors>,
        store: SharedLetters,
        desk: &LetterDesk,
        budget: Budget,
        phase: watch::Receiver<Phase>,
        filter: LetterFilter,
    ) -> Self {
        let lane = |edges: usize| Outbox::new(edges, desk.clone());
        let lanes = doors.doors.iter().map(|door| [lane(door.entry.len()), lane(door.router.edges().len())]).collect();
        let ledger = FrameLedger::default();
        // A letter is there until its event has settled, so nothing of it may become another letter when it is given up.
        ledger.set_redelivers(true);
        Self {
            doors,
            end: 0,
            store,
            budget,
            phase,
            filter,
            ledger: Arc::new(ledger),
            lanes,
            open: HashMap::new(),
            next_frame: 0,
            cursor: 0,
            feeding: true,
            settled: Vec::new(),
            again: None,
            draining: false,
            over: false,
            counts: v1::ReplayDeadLettersResponse::default(),
            refused: BTreeMap::new(),
        }
    }

    /// Ends when every letter that was sent has its verdict, or the pipeline has ended. Returns what is to be told last.
    pub(super) async fn run(
        mut self,
        told: &mpsc::Sender<Result<v1::ReplayDeadLettersResponse, Status>>,
    ) -> Result<v1::ReplayDeadLettersResponse, Status> {
        let store = self.store.clone();
        let end = tokio::task::spawn_blocking(move || store.next_generation()).await;
        self.end = end.map_err(|error| Status::internal(error.to_string()))?;
        let mut next_telling = Instant::now();
        let mut last = None;
        let failure = loop {
            self.feeding &= !told.is_closed();
            if let Err(error) = self.feed().await {
                self.feeding = false;
                break Some(error);
            }
            self.place();
            if self.over || (!self.feeding && self.open.is_empty() && self.settled.is_empty()) {
                break None;
            }
            if next_telling <= Instant::now() && last.as_ref() != Some(&self.counts) {
                // A caller who is behind hears the next.
                let _ = told.try_send(Ok(self.counts.clone()));
                last = Some(self.counts.clone());
                next_telling = Instant::now() + TELL;
            }
            let untold = last.as_ref() != Some(&self.counts);
            let waits = self.waits();
            tokio::select! {
                () = self.ledger.changed() => self.hear(),
                () = self.doors.freed.notified(), if waits => {}
                () = reached(&mut self.phase, if self.draining { Phase::Abandoned } else { Phase::Draining }) => {
                    // What has its place may finish while the pipeline drains, until it is given up.
                    self.feeding = false;
                    self.over = self.draining;
                    self.draining = true;
                    self.lanes.iter_mut().flatten().for_each(Outbox::forget);
                }
                () = told.closed(), if self.feeding => self.feeding = false,
                () = sleep_until(next_telling), if untold => {}
                () = until(self.again), if self.again.is_some() => {}
            }
            self.remove().await;
        };
        self.lanes.clear();
        self.hear();
        self.remove().await;
        self.counts.unfinished += (self.open.len() + self.settled.len()) as u64;
        self.counts.done = true;
        let v1::ReplayDeadLettersResponse { replayed, settled, failed_again, unfinished, .. } = &self.counts;
        tracing::info!(
            "{replayed} dead letters were replayed: {settled} settled, {failed_again} failed again, {unfinished} have no verdict"
        );
        failure.map_or(Ok(self.counts), |error| {
            Err(Status::internal(format!("the replay stopped, since the dead letters cannot be read: {error}")))
        })
    }

    fn waits(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| !lane.is_empty())
    }

    /// Sends letters while there is room for them on the way.
    async fn feed(&mut self) -> io::Result<()> {
        while self.feeding && !self.waits() {
            let bytes: u64 = self.open.values().map(|open| open.bytes).sum();
            let room = WINDOW_BYTES.saturating_sub(bytes).min(self.budget.room());
            let mut places = WINDOW_EVENTS.saturating_sub(self.open.len()).min(PAGE);
            if room == 0 {
                // One may always be on its way, whatever else takes up memory.
                places = usize::from(self.open.is_empty());
            }
            if places == 0 {
                return Ok(());
            }
            let (store, filter, after) = (self.store.clone(), self.filter.clone(), self.cursor);
            let page = tokio::task::spawn_blocking(move || store.page(after, places, room, &filter)).await;
            let Page { letters, next } = page.map_err(io::Error::other)??;
            for letter in letters {
                if letter.generation >= self.end {
                    self.feeding = false;
                    break;
                }
                self.cursor = letter.generation;
                self.send(&letter);
            }
            match next {
                Some(next) => self.cursor = next,
                None => self.feeding = false,
            }
            self.place();
        }
        Ok(())
    }

    fn send(&mut self, letter: &LetterRecord) {
        let Some(at) = self.doors.find(&letter.node) else {
            return self.refuse(letter, "the pipeline has no such node any more; export or discard them".into());
        };
        let door = &self.doors.doors[at];
        let way = match door.way(letter) {
            Ok(way) => way,
            Err(why) => return self.refuse(letter, why),
        };
        let (Way::In(batch) | Way::Out(batch, _)) = &way;
        let bytes = batch.bytes() as u64;
        let open = Open { generation: letter.generation, bytes, _charge: self.budget.take(bytes) };
        self.open.insert(self.next_frame, open);
        let deliveries = Origin::frame(self.ledger.clone(), self.next_frame, 1);
        self.next_frame += 1;
        self.counts.replayed += 1;
        let [into, out_of] = &mut self.lanes[at];
        match way {
            Way::In(batch) => {
                door.entry[0].books.produced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                into.push(0, batch, deliveries);
            }
            Way::Out(batch, None) => door.router.route(batch, &Routes::default(), deliveries, out_of),
            Way::Out(batch, Some(route)) => door.router.take_route(&route, batch, deliveries, out_of),
        }
    }

    fn refuse(&mut self, letter: &LetterRecord, why: String) {
        *self.refused.entry((letter.node.clone(), why)).or_default() += 1;
        let refused = self.refused.iter();
        let refused = refused.map(|((node, why), letters)| v1::ReplayRefusal {
            node: node.clone(),
            letters: *letters,
            why: why.clone(),
        });
        self.counts.refused = refused.collect();
    }

    fn place(&mut self) {
        for (door, [into, out_of]) in self.doors.doors.iter().zip(&mut self.lanes) {
            into.place(&door.entry);
            out_of.place(door.router.edges());
            for (lane, edges) in [(into, &door.entry[..]), (out_of, door.router.edges())] {
                if !lane.is_empty() && edges.iter().any(|edge| edge.to.is_closed()) {
                    // The node has ended, and with it the pipeline soon. Letters are there for the next run.
                    lane.forget();
                    self.feeding = false;
                }
            }
        }
    }

    /// Takes note of verdicts.
    fn hear(&mut self) {
        for (frame, outcome) in self.ledger.take() {
            let Some(open) = self.open.remove(&frame) else { continue };
            match outcome {
                Outcome::Settled => self.settled.push(open.generation),
                Outcome::Lost => self.counts.unfinished += 1,
            }
        }
    }

    /// Removes the letters whose events have settled, but for those that have failed again.
    async fn remove(&mut self) {
        if self.settled.is_empty() || self.again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        let (store, settled) = (self.store.clone(), self.settled.clone());
        let removed = tokio::task::spawn_blocking(move || store.remove(&settled)).await;
        match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(removed) => {
                self.counts.settled += removed;
                self.counts.failed_again += self.settled.len() as u64 - removed;
                self.settled.clear();
                self.again = None;
            }
            Err(error) => {
                if self.again.is_none() {
                    tracing::error!(
                        "{} replayed dead letters have settled and cannot be removed: {error}; it is tried again each second",
                        self.settled.len()
                    );
                }
                self.again = Some(Instant::now() + AGAIN);
            }
        }
    }
}

/// Resolves when the pipeline is in this phase or a later one.
async fn reached(phase: &mut watch::Receiver<Phase>, least: Phase) {
    // Nobody is left to say so: it is past the last one.
    let _ = phase.wait_for(|phase| *phase >= least).await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
