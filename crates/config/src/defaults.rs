//! Every default of the pipeline file, in one place.
//!
//! | key | default |
//! |---|---|
//! | `batch.events` | 4096 |
//! | `batch.bytes` | 4 MiB |
//! | `batch.latency` | 50 ms |
//! | `batch.linger` | none: a partial batch goes at once when a replica is idle, else after 5 ms |
//! | `queue.events` | 4 x `batch.events` |
//! | `queue.bytes` | 4 x `batch.bytes` |
//! | `retry` | 10 attempts, 100 ms doubling to 30 s |
//! | `restart` | 100 ms doubling to 30 s |
//! | `timeout` | 30 s |
//! | `start_timeout` | 60 s |
//! | `max_event` | 8 MiB |
//! | `replicas` | 1 |
//! | `trace` | 10 events per second and source |
//! | `drain` | 30 s |
//! | `memory` | the larger of 256 MiB and twice what is reserved, see [`crate::budget`] |
//! | `journal.size` | 256 MiB |
//! | `durability` | `journal` at a source that cannot send events again |
//! | `dead_letters.size` | 256 MiB |
//! | `webhook.timeout` | 10 s |

use std::time::Duration;

/// Events in one batch.
pub const BATCH_EVENTS: u32 = 4096;
/// Payload bytes in one batch.
pub const BATCH_BYTES: u64 = 4 << 20;
/// Time a batch may take before batches shrink.
pub const BATCH_LATENCY: Duration = Duration::from_millis(50);
/// How many full batches a queue holds.
pub const QUEUE_BATCHES: u32 = 4;
/// Attempts before an event is dead-lettered.
pub const RETRY_ATTEMPTS: u32 = 10;
/// Wait before the second attempt; doubles.
pub const RETRY_INITIAL: Duration = Duration::from_millis(100);
/// Longest wait between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// Wait before the first restart; doubles.
pub const RESTART_INITIAL: Duration = Duration::from_millis(100);
/// Longest wait between restarts.
pub const RESTART_MAX: Duration = Duration::from_secs(30);
/// Time of one handler call.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Time from spawn to ready.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest event accepted at a source.
pub const MAX_EVENT: u64 = 8 << 20;
/// Sampled traces per second and source.
pub const TRACE_RATE: f64 = 10.0;
/// Time to finish after a signal.
pub const DRAIN: Duration = Duration::from_secs(30);
/// Size of the journal.
pub const JOURNAL_BYTES: u64 = 256 << 20;
/// Size of the dead-letter store.
pub const DEAD_LETTERS_BYTES: u64 = 256 << 20;
/// Longest wait for an answer of a webhook.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
