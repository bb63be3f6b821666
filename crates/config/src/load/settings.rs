//! What a node is run with: batches, queues, retries, its process's surroundings.

use std::time::Duration;

use meshloom_core::machine::{InOutage, OnExhausted};

use super::{
    Load,
    top::{LARGEST, LONGEST},
};
use crate::{
    defaults,
    diagnostic::{Span, codes},
    read::{self, Fields},
    spec::*,
    yaml::Value,
};

/// The largest batch of the protocol, in events and bytes.
const LARGEST_BATCH: (u32, u64) = (65_536, 32 << 20);

impl Load<'_> {
    /// A time above zero.
    pub(super) fn time(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        read::duration(fields.value(key)?, Duration::from_millis(1)..=LONGEST, &mut self.report)
    }

    /// A size above zero.
    pub(super) fn size(&mut self, fields: &Fields<'_>, key: &str, largest: u64) -> Option<u64> {
        read::bytes(fields.value(key)?, 1..=largest, &mut self.report)
    }

    /// A map of a node, its keys checked.
    pub(super) fn section<'t>(&mut self, fields: &Fields<'t>, key: &str, keys: &[&str]) -> Option<Fields<'t>> {
        let needed = format!("a map of {}", keys.join(", "));
        let section = Fields::of(fields.value(key)?, &needed, &mut self.report)?;
        section.only(keys, &format!("`{key}`"), &mut self.report);
        Some(section)
    }

    pub(super) fn batch(&mut self, fields: &Fields<'_>) -> BatchSpec {
        let mut batch = BatchSpec {
            events: defaults::BATCH_EVENTS,
            bytes: defaults::BATCH_BYTES,
            linger: None,
            latency: defaults::BATCH_LATENCY,
        };
        let Some(section) = self.section(fields, "batch", &["events", "bytes", "linger", "latency"]) else {
            return batch;
        };
        let report = &mut self.report;
        if let Some(events) =
            section.value("events").and_then(|value| read::integer(value, 1..=LARGEST_BATCH.0, report))
        {
            batch.events = events;
        }
        batch.bytes = self.size(&section, "bytes", LARGEST_BATCH.1).unwrap_or(batch.bytes);
        let linger = section.value("linger");
        batch.linger = linger.and_then(|value| read::duration(value, Duration::ZERO..=LONGEST, &mut self.report));
        batch.latency = self.time(&section, "latency").unwrap_or(batch.latency);
        batch
    }

    pub(super) fn queue(&mut self, fields: &Fields<'_>, batch: &BatchSpec) -> QueueSpec {
        let mut queue = QueueSpec {
            events: batch.events.saturating_mul(defaults::QUEUE_BATCHES),
            bytes: batch.bytes.saturating_mul(u64::from(defaults::QUEUE_BATCHES)),
        };
        let Some(section) = self.section(fields, "queue", &["events", "bytes"]) else {
            return queue;
        };
        let batch_place = fields.value("batch").map(|value| value.span.clone());
        if let Some(value) = section.value("events")
            && let Some(events) = read::integer(value, 1..=u32::MAX, &mut self.report)
        {
            queue.events = events;
            if events < batch.events {
                let message = format!("a queue of {events} events cannot hold a batch of {}", batch.events);
                self.queue_too_small(message, &value.span, batch_place.as_ref());
            }
        }
        if let Some(value) = section.value("bytes")
            && let Some(bytes) = read::bytes(value, 1..=LARGEST, &mut self.report)
        {
            queue.bytes = bytes;
            if bytes < batch.bytes {
                let message = format!("a queue of {bytes} bytes cannot hold a batch of {}", batch.bytes);
                self.queue_too_small(message, &value.span, batch_place.as_ref());
            }
        }
        queue
    }

    pub(super) fn overflow(&mut self, fields: &Fields<'_>) -> Overflow {
        let choices = [("block", Overflow::Block), ("drop_newest", Overflow::DropNewest)];
        let value = fields.value("overflow");
        value.and_then(|value| read::choice(value, &choices, &mut self.report)).unwrap_or_default()
    }

    pub(super) fn on_exhausted(&mut self, fields: &Fields<'_>) -> OnExhausted {
        let choices = [("dead_letter", OnExhausted::DeadLetter), ("pause", OnExhausted::Pause)];
        let value = fields.value("on_exhausted");
        value.and_then(|value| read::choice(value, &choices, &mut self.report)).unwrap_or_default()
    }

    pub(super) fn outage(&mut self, fields: &Fields<'_>) -> InOutage {
        let choices = [("hold", InOutage::Hold), ("dead_letter", InOutage::DeadLetter)];
        let value = fields.value("outage");
        value.and_then(|value| read::choice(value, &choices, &mut self.report)).unwrap_or_default()
    }

    pub(super) fn queue_too_small(&mut self, message: String, place: &Span, batch: Option<&Span>) {
        let diagnostic = self.report.add(&codes::QUEUE_TOO_SMALL, place, message);
        if let Some(batch) = batch {
            diagnostic.label(batch, "the batch");
        }
    }

    pub(super) fn retry(&mut self, fields: &Fields<'_>) -> RetrySpec {
        let mut retry = RetrySpec {
            attempts: defaults::RETRY_ATTEMPTS,
            initial: defaults::RETRY_INITIAL,
            max: defaults::RETRY_MAX,
        };
        let Some(section) = self.section(fields, "retry", &["attempts", "initial", "max"]) else {
            return retry;
        };
        let attempts = section.value("attempts");
        if let Some(attempts) = attempts.and_then(|value| read::integer(value, 1..=1_000_000, &mut self.report)) {
            retry.attempts = attempts;
        }
        (retry.initial, retry.max) = self.backoff(&section, (retry.initial, retry.max));
        retry
    }

    pub(super) fn restart(&mut self, fields: &Fields<'_>) -> Restart {
        let (initial, max) = (defaults::RESTART_INITIAL, defaults::RESTART_MAX);
        let Some(value) = fields.value("restart") else {
            return Restart::Backoff { initial, max };
        };
        if let Value::Map(entries) = &value.value {
            let section = Fields { span: &value.span, entries };
            section.only(&["initial", "max"], "`restart`", &mut self.report);
            let (initial, max) = self.backoff(&section, (initial, max));
            return Restart::Backoff { initial, max };
        }
        read::choice(value, &[("never", ())], &mut self.report);
        Restart::Never
    }

    /// `initial` and `max`; the one that is not written follows the other.
    pub(super) fn backoff(&mut self, section: &Fields<'_>, or: (Duration, Duration)) -> (Duration, Duration) {
        let (initial, max) = (self.time(section, "initial"), self.time(section, "max"));
        if let (Some(initial), Some(max), Some(place)) = (initial, max, section.value("max"))
            && max < initial
        {
            let message = format!("`max` ({max:?}) is shorter than `initial` ({initial:?})");
            self.report.add(&codes::OUT_OF_RANGE, &place.span, message).help("waits grow from `initial` to `max`");
        }
        let initial = initial.unwrap_or_else(|| or.0.min(max.unwrap_or(or.0)));
        (initial, max.unwrap_or_else(|| or.1.max(initial)))
    }

    pub(super) fn ordering(&mut self, fields: &Fields<'_>) -> Ordering {
        let choices = [("none", Ordering::None), ("key", Ordering::Key), ("all", Ordering::All)];
        let Some(value) = fields.value("ordering") else {
            return Ordering::None;
        };
        let ordering = read::choice(value, &choices, &mut self.report).unwrap_or_default();
        if ordering != Ordering::None {
            self.report
                .add(&codes::NOT_YET, &value.span, "events cannot be kept in order in this version")
                .help("remove it, or use `none`");
        }
        ordering
    }

    pub(super) fn durability(&mut self, fields: &Fields<'_>) -> Option<Durability> {
        let value = fields.value("durability")?;
        let choices = [("journal", Durability::Journal), ("memory", Durability::Memory)];
        read::choice(value, &choices, &mut self.report)
    }

    /// Routes that are discarded on purpose.
    pub(super) fn discards(&mut self, fields: &Fields<'_>) -> (Vec<String>, Vec<Span>) {
        let Some(value) = fields.value("routes") else {
            return Default::default();
        };
        let Some(routes) = Fields::of(value, "a map of routes: `{ROUTE: discard}`", &mut self.report) else {
            return Default::default();
        };
        let (mut discards, mut spans) = (Vec::new(), Vec::new());
        for entry in routes.entries {
            self.check_name(&entry.key, &entry.key_span, "a route");
            if ["unmatched", "rejected"].contains(&entry.key.as_str()) {
                let message = format!("`{}` cannot be the name of a route: it has a meaning", entry.key);
                self.report.add(&codes::RESERVED_NAME, &entry.key_span, message);
            }
            read::choice(&entry.value, &[("discard", ())], &mut self.report);
            discards.push(entry.key.clone());
            spans.push(entry.key_span.clone());
        }
        (discards, spans)
    }

    pub(super) fn env(&mut self, fields: &Fields<'_>) -> Vec<(String, String)> {
        let Some(value) = fields.value("env").filter(|value| !value.is_null()) else {
            return Vec::new();
        };
        let Some(env) = Fields::of(value, "a map of variables", &mut self.report) else {
            return Vec::new();
        };
        let mut variables = Vec::new();
        for entry in env.entries {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                let message = format!("`{}` cannot be the name of a variable", entry.key);
                self.report.add(&codes::BAD_NAME, &entry.key_span, message).help("use letters, digits and `_`");
                continue;
            }
            if let Some(text) = read::written(&entry.value, "the text of a variable", &mut self.report) {
                variables.push((entry.key.clone(), text.to_owned()));
            }
        }
        variables
    }

    pub(super) fn working_dir(&mut self, fields: &Fields<'_>) -> std::path::PathBuf {
        let Some(value) = fields.value("dir") else {
            return self.dir.to_path_buf();
        };
        let Some(written) = read::text(value, "a folder", &mut self.report) else {
            return self.dir.to_path_buf();
        };
        let dir = resolve(self.dir, written);
        if !dir.is_dir() {
            let message = format!("`{written}` is not a folder");
            let remedy = format!("`dir` starts at the folder of the pipeline file, here {}", self.dir.display());
            self.report.add(&codes::DIR_NOT_FOUND, &value.span, message).help(remedy);
        }
        dir
    }
}
