//! What may happen to a node. Everything is small and taken modulo what there is, so that shrinking works.

use proptest::prelude::*;

/// A node before anything happens to it.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) replicas: u32,
    pub(super) attempts: u32,
    pub(super) batch_events: u32,
    pub(super) linger_ms: Option<u64>,
    pub(super) rate: Option<u32>,
    pub(super) timeout: bool,
    pub(super) last_room: u64,
}

impl Setup {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        (
            1u32..4,
            1u32..5,
            1u32..20,
            prop::option::weighted(0.3, 1u64..2_000),
            prop::option::weighted(0.2, 1u32..40),
            prop::bool::weighted(0.9),
            prop_oneof![Just(1 << 30), Just(0u64)],
        )
            .prop_map(|(replicas, attempts, batch_events, linger_ms, rate, timeout, last_room)| Self {
                replicas,
                attempts,
                batch_events,
                linger_ms,
                rate,
                timeout,
                last_room,
            })
    }
}

/// What a node says of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    Outputs(u8),
    Retry,
    RetryAfter(u16),
    Reject,
    Cancelled,
    KeyHeld,
}

/// How a result breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    No,
    /// An input is named twice.
    Repeats,
    /// The number of consumed inputs is off by one.
    Consumed,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Payload sizes; a bit per row that is sampled. The frame comes in two parts over two edges.
    Arrive {
        sizes: Vec<u16>,
        sampled: u16,
        split: u8,
        edge: u8,
    },
    Up {
        replica: u8,
        works: u8,
        events: u8,
        bytes: u8,
    },
    Down {
        replica: u8,
    },
    /// It is to be restarted.
    Rest {
        replica: u8,
    },
    Limits {
        replica: u8,
        works: u8,
        events: u8,
        bytes: u8,
    },
    Answer {
        work: u8,
        says: Vec<Says>,
        of_whole: u8,
        continued: bool,
        last: bool,
        wrong: Wrong,
    },
    FailWhole {
        work: u8,
        reject: bool,
        last: bool,
    },
    Malformed {
        work: u8,
        last: bool,
    },
    /// A result of a work that was never sent.
    Unknown {
        replica: u8,
    },
    Overdue {
        work: u8,
        row: Option<u8>,
    },
    Wait {
        ms: u16,
    },
    Room {
        bytes: u16,
    },
    Pressed,
    /// The nodes below and the store of letters get on with it.
    Below,
}

impl Op {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let says = || {
            prop_oneof![
                3 => Just(Says::Nothing),
                4 => (1u8..4).prop_map(Says::Outputs),
                2 => Just(Says::Retry),
                1 => (0u16..5_000).prop_map(Says::RetryAfter),
                1 => Just(Says::Reject),
                1 => Just(Says::Cancelled),
                1 => Just(Says::KeyHeld),
            ]
        };
        let wrong = prop_oneof![8 => Just(Wrong::No), 1 => Just(Wrong::Repeats), 1 => Just(Wrong::Consumed)];
        let answer = (
            any::<u8>(),
            prop::collection::vec(says(), 1..8),
            prop_oneof![4 => Just(0u8), 1 => 1u8..3],
            any::<bool>(),
            prop::bool::weighted(0.6),
            wrong,
        );
        // One size in sixteen is more than any replica takes.
        let size = prop_oneof![15 => 0u16..200, 1 => 5_000u16..6_000];
        prop_oneof![
            6 => (prop::collection::vec(size, 1..14), any::<u16>(), any::<u8>(), any::<u8>())
                .prop_map(|(sizes, sampled, split, edge)| Self::Arrive { sizes, sampled, split, edge }),
            4 => (any::<u8>(), 1u8..4, 1u8..20, any::<u8>())
                .prop_map(|(replica, works, events, bytes)| Self::Up { replica, works, events, bytes }),
            2 => any::<u8>().prop_map(|replica| Self::Down { replica }),
            1 => any::<u8>().prop_map(|replica| Self::Rest { replica }),
            1 => (any::<u8>(), 1u8..4, 1u8..20, any::<u8>())
                .prop_map(|(replica, works, events, bytes)| Self::Limits { replica, works, events, bytes }),
            10 => answer.prop_map(|(work, says, of_whole, continued, last, wrong)| Self::Answer {
                work, says, of_whole, continued, last, wrong
            }),
            3 => (any::<u8>(), prop::bool::weighted(0.2), prop::bool::weighted(0.8))
                .prop_map(|(work, reject, last)| Self::FailWhole { work, reject, last }),
            1 => (any::<u8>(), any::<bool>()).prop_map(|(work, last)| Self::Malformed { work, last }),
            1 => any::<u8>().prop_map(|replica| Self::Unknown { replica }),
            2 => (any::<u8>(), prop::option::of(any::<u8>())).prop_map(|(work, row)| Self::Overdue { work, row }),
            6 => prop_oneof![0u16..20, 50u16..1_000, 4_000u16..12_000].prop_map(|ms| Self::Wait { ms }),
            2 => any::<u16>().prop_map(|bytes| Self::Room { bytes }),
            1 => Just(Self::Pressed),
            3 => Just(Self::Below),
        ]
    }
}
