//! What is exchanged with a node, whatever realises it: a process behind gRPC, an adapted program or a connector.
//!
//! These are the validated forms of the wire messages of the same names; `meshloom-wire` translates. A node in the
//! coordinator's own process speaks them over two bounded channels and is otherwise treated like any other.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{batch::Batch, outputs::Outputs};

/// Events to handle.
#[derive(Debug, Clone)]
pub struct Work {
    /// Identifies the work on its stream; used once.
    pub sequence: u64,
    /// The events.
    pub batch: Batch,
    /// Which attempt this is for each event, from 1; `None`: the first for all.
    pub attempts: Option<Arc<[u32]>>,
    /// Time for one handler call; `None`: no limit.
    pub timeout: Option<Duration>,
}

/// Results of a work or of a part of it.
#[derive(Debug, Clone, Default)]
pub struct WorkResult {
    /// The work.
    pub sequence: u64,
    /// Outputs, if any.
    pub outputs: Option<Outputs>,
    /// Inputs that failed.
    pub failures: Vec<Failure>,
    /// On `last`: inputs of the whole work that ended with no output on purpose.
    pub consumed: u32,
    /// Whether this is the last result of the work.
    pub last: bool,
    /// On `last`: time in handlers, summed over calls.
    pub busy: Duration,
}

/// What to do with an input that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Try again later.
    Retry,
    /// Final.
    Reject,
}

/// The failure of one input or of a whole work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The input; `None`: the whole work, no event can be named.
    pub index: Option<u32>,
    /// Retry or reject.
    pub action: Action,
    /// Stable code of [A-Z0-9_].
    pub reason: Cow<'static, str>,
    /// For a person.
    pub message: String,
    /// Earliest next attempt, from now.
    pub retry_after: Option<Duration>,
}

/// How much may be in hand at a node. Zero is never stored here: the SDK's defaults have been filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Works without their `last`.
    pub works: u32,
    /// Events per work.
    pub events: u32,
    /// Bytes per work.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { works: 8, events: 4096, bytes: 4 << 20 }
    }
}

/// One running call of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The work it belongs to.
    pub sequence: u64,
    /// The input; `None`: a call for the whole batch.
    pub index: Option<u32>,
    /// Time since it began.
    pub age: Duration,
}

/// To a transform or sink. The end of the channel is the half-close: answer what you hold, then end.
#[derive(Debug, Clone)]
pub enum ToNode {
    /// Events to handle.
    Work(Work),
    /// Take a work back.
    Cancel {
        /// The work.
        sequence: u64,
        /// Why.
        reason: String,
    },
}

/// From a transform or sink.
#[derive(Debug, Clone)]
pub enum FromNode {
    /// An answer.
    Result(WorkResult),
    /// New limits.
    Limits(Limits),
    /// What is running, oldest first.
    Progress(Vec<Call>),
}

/// To a source.
#[derive(Debug, Clone)]
pub enum ToSource {
    /// More credit; both are added to what is left, and any remaining credit admits one event.
    Demand {
        /// Events.
        events: u64,
        /// Payload bytes.
        bytes: u64,
    },
    /// To a source that replays: all that came from a frame has settled, and the checkpoint is durable. To one that does
    /// not: the frame is durable (or accepted, with `durability: memory`), so it may be forgotten.
    Settled {
        /// The frame.
        sequence: u64,
        /// The checkpoint now kept.
        checkpoint: Option<Bytes>,
    },
    /// A frame was not accepted and none of it will be delivered. Only told to a connector that can pass it on.
    Refused {
        /// The frame.
        sequence: u64,
        /// Why.
        why: NotAccepted,
    },
    /// Produce no more; send what is in hand, then end.
    Stop,
}

/// Why a frame was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAccepted {
    /// The journal is full of events that have not settled: later there is room.
    Full,
    /// The journal cannot be written.
    Failed,
    /// The frame is larger than the journal takes at once.
    TooLarge,
}

/// From a source.
#[derive(Debug, Clone)]
pub enum FromSource {
    /// A frame of events, without uids.
    Produced {
        /// Number of the frame on this stream: 1, 2, 3, ...
        sequence: u64,
        /// The events; their `uid`s are not yet set.
        batch: Batch,
        /// The last checkpoint in the frame, else the one before it.
        checkpoint: Option<Bytes>,
    },
    /// There are no more events, ever.
    Exhausted,
}
