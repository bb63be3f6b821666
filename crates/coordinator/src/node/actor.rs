//! The actor's loop: feed what happened to the machine, carry out what it says, place outputs, sleep till the next thing.

use std::{sync::Arc, time::Instant};

use meshloom_core::{
    exchange::{FromNode, Limits, ToNode},
    machine::{Action, End, Event, NodeMachine, Segment},
};
use tokio::sync::{Notify, mpsc, watch};

use super::books::{NodeBooks, Times};
use crate::{
    clock::{Clock, sleep_until},
    flow::{Budget, EdgeBooks, Inbox, Input, Outbox, Room, Router},
    phase::Phase,
    replica::FirstStart,
    restart::Roll,
    resume::Resume,
    spans::HopSpans,
};

/// What the actor hears of a replica.
#[derive(Debug)]
pub(crate) enum FromReplica {
    /// It is ready.
    Up {
        /// How much it takes.
        limits: Limits,
        /// Whether it reports progress.
        reports_progress: bool,
        /// Where works go; its end is the half-close.
        works: mpsc::Sender<ToNode>,
    },
    /// It said something.
    Said(FromNode),
    /// It answered a work in a way that breaks a rule.
    Malformed {
        /// The work.
        sequence: u64,
        /// Whether it said that it was the last.
        last: bool,
        /// The rule.
        message: String,
    },
    /// Its stream is over; the driver brings it up again, or not.
    Down(End),
}

/// The actor's end of a replica.
#[derive(Debug)]
pub(crate) struct ReplicaLink {
    /// Works, while it is up.
    pub(crate) works: Option<mpsc::Sender<ToNode>>,
    /// Asks its driver to end it and start again; holds the reason.
    pub(crate) restart: mpsc::Sender<String>,
    /// Whether events that may have killed it are to be tried at it, so that its driver starts it again soon.
    pub(crate) ward: watch::Sender<bool>,
    /// Tells its driver, just before the half-close, to start it again, and whom to tell when it is ready.
    pub(crate) rest: mpsc::Sender<FirstStart>,
}

/// Everything around the machine.
pub(crate) struct Wiring {
    pub(crate) node: Arc<str>,
    pub(crate) inbox: Inbox,
    /// Rooms and books of the edges into the node, and of what else may bring it events.
    pub(crate) inputs: Vec<(Arc<Room>, Arc<EdgeBooks>)>,
    /// Edges into the node, each of which says when it has ended.
    pub(crate) edges_in: usize,
    pub(crate) router: Router,
    pub(crate) outbox: Outbox,
    pub(crate) replicas: Vec<ReplicaLink>,
    pub(crate) from_replicas: mpsc::Receiver<(u32, FromReplica)>,
    /// Restarts that an operator asked for.
    pub(crate) rolls: mpsc::Receiver<Roll>,
    /// An operator lets it go on where it has paused.
    pub(crate) resumes: mpsc::Receiver<Resume>,
    /// How many sources of the pipeline are not exhausted.
    pub(crate) open_sources: watch::Receiver<usize>,
    /// Room has come free on an edge below.
    pub(crate) freed: Arc<Notify>,
    /// Somebody above waits for room.
    pub(crate) pressed: Arc<Notify>,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    pub(crate) spans: HopSpans,
    pub(crate) books: Arc<NodeBooks>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// One node at work.
pub(crate) struct NodeActor {
    machine: NodeMachine,
    wiring: Wiring,
    inputs_open: usize,
    times: Times,
    draining: bool,
    sources_exhausted: bool,
    /// What the replicas' drivers know of it.
    ward: Option<u32>,
    rolling: Option<Rolling>,
}

/// A restart that an operator asked for, until the replica's driver has it.
enum Rolling {
    /// Works are in hand.
    Emptying(Roll),
    /// It is down, and comes up as a new one by itself.
    Starting(Roll),
}

/// What woke the actor.
enum Turn {
    Input(Input),
    Replica(u32, FromReplica),
    Placed,
    Event(Event),
    Roll(Roll),
    Resume(Resume),
    SourcesExhausted,
    Phase,
}

impl NodeActor {
    pub(crate) fn new(machine: NodeMachine, wiring: Wiring) -> Self {
        let inputs_open = wiring.edges_in;
        Self {
            machine,
            wiring,
            inputs_open,
            times: Times::default(),
            draining: false,
            sources_exhausted: false,
            ward: None,
            rolling: None,
        }
    }

    /// Runs until every input has ended and every event has its verdict, or the pipeline is given up.
    pub(crate) async fn run(mut self) {
        loop {
            if self.is_done() {
                break;
            }
            let starved = self.is_starved();
            let began = Instant::now();
            let waits = self.waits_for();
            let turn = self.next_turn(starved).await;
            let waited = began.elapsed();
            match waits {
                Waits::Below => self.times.waiting_below += waited,
                Waits::Replica => self.times.waiting_for_replica += waited,
                Waits::Work => self.times.waiting_for_work += waited,
                Waits::Answers => {}
            }
            match turn {
                Turn::Placed => self.place(),
                Turn::Phase => {
                    let phase = *self.wiring.phase.borrow_and_update();
                    match phase {
                        Phase::Abandoned => break,
                        Phase::Draining if !self.draining => {
                            self.draining = true;
                            self.feed(Event::Drain);
                        }
                        _ => {}
                    }
                }
                Turn::Event(event) => self.feed(event),
                Turn::Roll(roll) => self.begin(roll),
                Turn::Resume(resumed) => {
                    let events = self.machine.paused_events();
                    self.feed(Event::Resume);
                    // Who asked may have stopped waiting.
                    let _ = resumed.send(events);
                }
                Turn::SourcesExhausted => {
                    self.sources_exhausted = true;
                    self.feed(Event::SourcesExhausted);
                }
                Turn::Input(Input::EdgeEnded) => {
                    self.inputs_open -= 1;
                    if self.inputs_open == 0 {
                        self.feed(Event::InputsEnded);
                    }
                }
                Turn::Input(Input::Events { edge, batch, deliveries }) => {
                    let books = &self.wiring.inputs[edge as usize].1;
                    books.received.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed);
                    let segment = Segment::arriving(batch, deliveries, edge, self.wiring.clock.now());
                    self.feed(Event::Arrived(segment));
                }
                Turn::Replica(replica, said) => self.hear(replica, said),
            }
            self.let_go();
            self.write_books();
        }
        // What is left was given up, or waits for a retry that the next run will make.
        self.abandon().await;
        self.write_books();
        // The half-close of every replica, and the end of every edge below.
        self.wiring.replicas.iter_mut().for_each(|replica| replica.works = None);
        for edge in self.wiring.router.edges() {
            edge.end().await;
        }
    }

    fn write_books(&self) {
        self.wiring.books.write(&self.machine, self.times, self.wiring.replicas.len() as u32);
    }

    fn is_done(&self) -> bool {
        let settled = self.machine.is_idle() || (self.draining && self.machine.only_waits_for_retries());
        self.inputs_open == 0 && settled && self.wiring.outbox.is_empty()
    }

    /// Asks again whether work waits for the budget, having first made sure that no release can be missed.
    fn is_starved(&mut self) -> bool {
        if !self.machine.is_starved() {
            return false;
        }
        self.wiring.budget.mark_seen();
        self.feed(Event::Wake);
        self.machine.is_starved()
    }

    async fn next_turn(&mut self, starved: bool) -> Turn {
        let Self { machine, wiring, rolling, sources_exhausted, .. } = self;
        let full = !wiring.outbox.is_empty();
        let deadline = machine.next_deadline().map(|moment| wiring.clock.instant(moment));
        // While outputs wait below, nothing is taken in: no events, no further results, and no time is counted.
        tokio::select! {
            biased;
            changed = wiring.phase.changed() => match changed {
                Ok(()) => Turn::Phase,
                Err(_) => std::future::pending().await,
            },
            () = wiring.freed.notified(), if full => Turn::Placed,
            Some((replica, said)) = wiring.from_replicas.recv(), if !full => Turn::Replica(replica, said),
            Some(input) = wiring.inbox.recv(), if !full => Turn::Input(input),
            Some(roll) = wiring.rolls.recv(), if !full && rolling.is_none() => Turn::Roll(roll),
            Some(resume) = wiring.resumes.recv(), if !full => Turn::Resume(resume),
            () = all_exhausted(&mut wiring.open_sources), if !full && !*sources_exhausted => Turn::SourcesExhausted,
            () = wiring.pressed.notified(), if !full => Turn::Event(Event::Pressed),
            () = wiring.budget.freed(), if !full && starved => Turn::Event(Event::Wake),
            () = sleep_until(deadline), if !full && deadline.is_some() => Turn::Event(Event::Wake),
        }
    }

    fn waits_for(&self) -> Waits {
        if !self.wiring.outbox.is_empty() {
            Waits::Below
        } else if self.machine.waits_for_replica() {
            Waits::Replica
        } else if self.machine.is_idle() {
            Waits::Work
        } else {
            Waits::Answers
        }
    }

    /// Begins to restart a replica.
    fn begin(&mut self, roll: Roll) {
        let replica = roll.replica;
        if self.wiring.replicas[replica as usize].works.is_none() {
            self.rolling = Some(Rolling::Starting(roll));
            return;
        }
        self.rolling = Some(Rolling::Emptying(roll));
        self.feed(Event::Rest { replica });
    }

    /// Half-closes a replica that is to be restarted once it has nothing in hand.
    fn let_go(&mut self) {
        // A node that is done ends as a whole, and while outputs wait below nothing else is begun.
        if !self.wiring.outbox.is_empty() || self.is_done() {
            return;
        }
        let empty = |rolling: &mut Rolling| match rolling {
            Rolling::Emptying(roll) => self.machine.works_in_hand(roll.replica) == 0,
            Rolling::Starting(_) => false,
        };
        let Some(Rolling::Emptying(Roll { replica, ready })) = self.rolling.take_if(empty) else { return };
        let link = &mut self.wiring.replicas[replica as usize];
        // In this order, so that the end of the stream finds its driver told. A driver that is gone drops `ready`.
        let _ = link.rest.try_send(ready);
        link.works = None;
        self.feed(Event::Down { replica, end: End::Closed });
    }

    fn hear(&mut self, replica: u32, said: FromReplica) {
        let event = match said {
            FromReplica::Up { limits, reports_progress, works } => {
                self.wiring.replicas[replica as usize].works = Some(works);
                let awaited =
                    |rolling: &mut Rolling| matches!(rolling, Rolling::Starting(roll) if roll.replica == replica);
                if let Some(Rolling::Starting(roll)) = self.rolling.take_if(awaited) {
                    // Who asked may have stopped waiting.
                    let _ = roll.ready.send(Ok(()));
                }
                Event::Up { replica, limits, reports_progress }
            }
            FromReplica::Said(FromNode::Result(result)) => Event::Result { replica, result },
            FromReplica::Said(FromNode::Limits(limits)) => Event::Limits { replica, limits },
            FromReplica::Said(FromNode::Progress(calls)) => Event::Progress { replica, calls },
            FromReplica::Malformed { sequence, last, message } => Event::Malformed { replica, sequence, last, message },
            FromReplica::Down(end) => {
                self.wiring.replicas[replica as usize].works = None;
                self.rolling = self.rolling.take().map(|rolling| match rolling {
                    Rolling::Emptying(roll) if roll.replica == replica => Rolling::Starting(roll),
                    rolling => rolling,
                });
                Event::Down { replica, end }
            }
        };
        self.feed(event);
    }

    fn feed(&mut self, event: Event) {
        let now = self.wiring.clock.now();
        for action in self.machine.handle(event, now, self.wiring.budget.room()) {
            self.carry_out(action);
        }
        let ward = self.machine.ward();
        if ward != self.ward {
            self.ward = ward;
            for (replica, link) in (0..).zip(&self.wiring.replicas) {
                link.ward.send_replace(ward == Some(replica));
            }
        }
        self.place();
    }

    fn place(&mut self) {
        let was_full = !self.wiring.outbox.is_empty();
        self.wiring.outbox.place(self.wiring.router.edges());
        if was_full && self.wiring.outbox.is_empty() {
            self.machine.was_held_up(self.wiring.clock.now());
        }
    }

    fn carry_out(&mut self, action: Action) {
        let Wiring { node, router, outbox, .. } = &mut self.wiring;
        match action {
            Action::Send { replica, work } => {
                if let Some((dispatched, parts)) = self.machine.in_hand(replica, work.sequence) {
                    self.wiring.books.sent(dispatched, parts);
                }
                self.send(replica, ToNode::Work(work));
            }
            Action::Cancel { replica, sequence, reason } => {
                self.send(replica, ToNode::Cancel { sequence, reason: reason.to_owned() });
            }
            Action::Forward { answer, deliveries } => router.route(answer.batch, &answer.routes, deliveries, outbox),
            Action::Letter(letter) => router.letter(letter, outbox),
            Action::Restart { replica, why } => {
                tracing::warn!("{node}[{replica}] is restarted: {why}");
                // A full channel holds an earlier request to do the same.
                let _ = self.wiring.replicas[replica as usize].restart.try_send(why);
            }
            Action::Room { edge, events, bytes } => self.wiring.inputs[edge as usize].0.give(events, bytes),
            Action::Span(hop) => self.wiring.spans.record(&hop),
            Action::Done { events, busy, elapsed, .. } => {
                let busy = if busy.is_zero() { elapsed } else { busy };
                self.times.busy += busy;
                self.wiring.books.handled(events, busy, elapsed);
            }
            Action::Outage { began: true, message } => tracing::warn!("{node}: {message}"),
            Action::Outage { began: false, message } => tracing::info!("{node}: {message}"),
            Action::Paused { uid, why } => tracing::error!(
                "{node}: paused: event {uid} has used up its attempts: {why}; nothing is lost, its work and what is above wait; once the cause is gone, `meshloom resume {node}` gives it fresh attempts"
            ),
            Action::Breaker { replica, message } => {
                tracing::warn!("{node}[{replica}]: its breaker is {message}");
                self.wiring.books.breaker_changed(replica);
            }
            Action::Stalled { replica, message } | Action::Warn { replica, message } => {
                tracing::warn!("{node}[{replica}]: {message}")
            }
        }
    }

    fn send(&mut self, replica: u32, message: ToNode) {
        let link = &self.wiring.replicas[replica as usize];
        let Some(works) = &link.works else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = works.try_send(message) {
            // The machine keeps to the replica's limits, and the channel is larger than any: the writer is stuck.
            let _ = link.restart.try_send("its stream takes no more works".into());
        }
    }

    /// Gives up: what can come again is left to its source, the rest becomes dead letters.
    async fn abandon(&mut self) {
        let (segments, actions) = self.machine.abandon(self.wiring.clock.now());
        for action in actions {
            self.carry_out(action);
        }
        let Wiring { node, inbox, inputs, outbox, router, .. } = &mut self.wiring;
        outbox.abandon(router.edges());
        for segment in segments {
            let letters = outbox.give_up(node, segment.batch, segment.deliveries);
            self.machine.drained(letters);
        }
        inbox.close();
        while let Some(input) = inbox.recv().await {
            if let Input::Events { edge, batch, deliveries } = input {
                let letters = outbox.give_up(node, batch, deliveries);
                inputs[edge as usize].1.refused.fetch_add(letters, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
}

enum Waits {
    Below,
    Replica,
    Work,
    Answers,
}

/// Resolves when no source of the pipeline has more to give.
async fn all_exhausted(open: &mut watch::Receiver<usize>) {
    if open.wait_for(|open| *open == 0).await.is_err() {
        // All sources are gone, and this node is to follow.
        std::future::pending().await
    }
}
