//! What a machine has its actor do.

use std::{borrow::Cow, time::Duration};

use super::Hop;
use crate::{batch::Batch, exchange::Work, ids::Uid, origin::Deliveries, outputs::Answer};

/// What the actor has to do.
#[derive(Debug)]
pub enum Action {
    /// Send a work.
    Send {
        /// To this replica.
        replica: u32,
        /// The work.
        work: Work,
    },
    /// Take a work back.
    Cancel {
        /// From this replica.
        replica: u32,
        /// The work.
        sequence: u64,
        /// Why.
        reason: &'static str,
    },
    /// Pass outputs on.
    Forward {
        /// The outputs.
        answer: Answer,
        /// One delivery per output.
        deliveries: Deliveries,
    },
    /// Make dead letters of these events, or send them to `NAME.rejected`.
    Letter(Letter),
    /// A replica does not answer or breaks the protocol: end its stream and, if it is ours, its process.
    Restart {
        /// The replica.
        replica: u32,
        /// Why, for a person.
        why: String,
    },
    /// Queue room of an edge came free, or (negative) is used again by a retry.
    Room {
        /// Index of the edge among the node's inputs.
        edge: u32,
        /// Events.
        events: i64,
        /// Bytes.
        bytes: i64,
    },
    /// A hop of a sampled event ended.
    Span(Hop),
    /// A work was answered in full.
    Done {
        /// The replica.
        replica: u32,
        /// Inputs.
        events: u32,
        /// Time in handlers.
        busy: Duration,
        /// Time since it was sent.
        elapsed: Duration,
    },
    /// An outage of the node has begun or is over.
    Outage {
        /// Whether it begins.
        began: bool,
        /// How long, and the words of the last failure, for a person.
        message: String,
    },
    /// An event has used up its attempts, and the node waits for [`Event::Resume`](super::Event::Resume).
    Paused {
        /// The event.
        uid: Uid,
        /// Code and message of its last failure.
        why: String,
    },
    /// The state of a replica's breaker has changed.
    Breaker {
        /// The replica.
        replica: u32,
        /// The state and why, for a person.
        message: String,
    },
    /// A handler may be stuck.
    Stalled {
        /// The replica.
        replica: u32,
        /// What has been running for how long, and what ends it, for a person.
        message: String,
    },
    /// Something that an operator should read.
    Warn {
        /// The replica.
        replica: u32,
        /// What.
        message: String,
    },
}

/// Events that end here.
#[derive(Debug)]
pub struct Letter {
    /// The events, in memory of their own.
    pub batch: Batch,
    /// Their deliveries; settled once the letter is durable.
    pub deliveries: Deliveries,
    /// Stable code.
    pub reason: Cow<'static, str>,
    /// For a person.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
}
