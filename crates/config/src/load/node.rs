//! The keys of one node.

use std::time::Duration;

use super::{
    Load,
    defaults::with_defaults,
    keys::{self, KINDS, Role, Rule},
    top::{LARGEST, LONGEST, Top},
};
use crate::{
    connector::ConnectorSpec,
    defaults,
    diagnostic::{Span, codes},
    expression::Expression,
    read::{self, Fields},
    spec::*,
    yaml::{Entry, Node, Value, json_object},
};

/// The largest event of the protocol, in bytes.
const LARGEST_EVENT: u64 = 16 << 20;
/// The largest batch of the protocol, in events and bytes.
const LARGEST_BATCH: (u32, u64) = (65_536, 32 << 20);

/// A node as far as it could be read, and the places that later checks speak of.
pub(super) struct Draft {
    pub(super) spec: NodeSpec,
    pub(super) name_span: Span,
    /// Whether its kind could be read; if not, that was reported.
    pub(super) kind_known: bool,
    /// The places of its edges, in the order of `from`.
    pub(super) from_spans: Vec<Span>,
    /// The places of `routes`, in the order of `discards`.
    pub(super) discard_spans: Vec<Span>,
    /// Where `listen` stands.
    pub(super) listen_span: Option<Span>,
    /// Where `replicas` stands.
    pub(super) replicas_span: Option<Span>,
}

impl Load<'_> {
    /// Reads all nodes.
    pub(super) fn nodes(&mut self, top: &Top<'_>) -> Vec<Draft> {
        top.nodes
            .entries
            .iter()
            .map(|entry| self.node(entry, top.defaults))
            .collect()
    }

    fn node(&mut self, entry: &Entry, defaults: &[Entry]) -> Draft {
        let name = entry.key.as_str();
        if self.check_name(name, &entry.key_span, "a node")
            && ["unmatched", "rejected"].contains(&name)
        {
            let message =
                format!("`{name}` cannot be the name of a node: `NODE.{name}` has a meaning");
            self.report
                .add(&codes::RESERVED_NAME, &entry.key_span, message);
        }
        let own = Fields::of(&entry.value, "a map of the node's keys", &mut self.report);
        let known = own.is_some();
        let merged = with_defaults(own.map_or(&[], |own| own.entries), defaults);
        let fields = Fields {
            span: &entry.value.span,
            entries: &merged,
        };
        let kind_key = if known {
            self.kind_key(&fields, entry)
        } else {
            None
        };
        let role = match fields.get("from") {
            Some(_) => Role::Inner,
            None => Role::Source,
        };
        let merged = self.applicable(merged.clone(), kind_key, role);
        let fields = Fields {
            span: &entry.value.span,
            entries: &merged,
        };
        let mut draft = self.draft(entry, &fields);
        if let Some(kind) = kind_key.and_then(|kind| self.kind(kind, &fields, &mut draft)) {
            draft.spec.kind = kind;
            draft.kind_known = true;
        }
        draft
    }

    /// The one key that says what realises the node.
    fn kind_key(&mut self, fields: &Fields<'_>, node: &Entry) -> Option<&'static str> {
        let present: Vec<&'static str> = KINDS
            .into_iter()
            .filter(|kind| fields.get(kind).is_some())
            .collect();
        match present.as_slice() {
            [kind] => return Some(kind),
            [] => {
                self.report
                    .add(&codes::NODE_KIND, &node.key_span, format!("the node `{}` has none of `run`, `connect`, `exec`, `use`", node.key))
                    .help("say what realises it: a command to `run`, an address to `connect`, a program to `exec`, a connector to `use`");
            }
            [first, others @ ..] => {
                for other in others {
                    let entry = fields.get(other).expect("it was just found");
                    let first_entry = fields.get(first).expect("it was just found");
                    self.report
                        .add(
                            &codes::NODE_KIND,
                            &entry.key_span,
                            format!("the node `{}` has both `{first}` and `{other}`", node.key),
                        )
                        .help("keep one of them")
                        .label(&first_entry.key_span, "the other");
                }
            }
        }
        None
    }

    /// Reports keys that are unknown, not built, or do not apply; answers those that do.
    fn applicable(&mut self, entries: Vec<Entry>, kind: Option<&str>, role: Role) -> Vec<Entry> {
        let all = keys::node_keys();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.key.starts_with("x-") {
                continue;
            }
            let Some(rule) = keys::NODE.iter().find(|rule| rule.key == entry.key) else {
                // Those of `defaults` were reported there.
                if !entry.inherited {
                    read::unknown_key(&entry, &all, "a node", &mut self.report);
                }
                continue;
            };
            if rule.not_yet {
                self.report.add(
                    &codes::NOT_YET,
                    &entry.key_span,
                    format!("`{}` cannot be used in this version", entry.key),
                );
                continue;
            }
            match misplaced(rule, kind, role) {
                None => kept.push(entry),
                Some(_) if entry.inherited => {}
                Some((message, remedy)) => {
                    self.report
                        .add(&codes::KEY_NOT_APPLICABLE, &entry.key_span, message)
                        .help(remedy);
                }
            }
        }
        kept
    }

    /// Everything but the kind.
    fn draft(&mut self, node: &Entry, fields: &Fields<'_>) -> Draft {
        let (from, from_spans) = self.edges(fields);
        let (discards, discard_spans) = self.discards(fields);
        let max_event = self
            .size(fields, "max_event", LARGEST_EVENT)
            .unwrap_or(defaults::MAX_EVENT);
        let batch = self.batch(fields);
        let queue = self.queue(fields, &batch);
        let config_json = match fields.value("with") {
            None => "{}".into(),
            Some(value) if value.is_null() => "{}".into(),
            Some(value) => {
                match Fields::of(value, "a map: the node's own config", &mut self.report) {
                    Some(with) => json_object(with.entries, &mut self.report),
                    None => "{}".into(),
                }
            }
        };
        let report = &mut self.report;
        let replicas = fields
            .value("replicas")
            .and_then(|value| read::integer(value, 1..=1024, report));
        let concurrency = fields
            .value("concurrency")
            .and_then(|value| read::integer(value, 1..=65_536, report));
        let env_clear = fields
            .value("env_clear")
            .and_then(|value| read::boolean(value, report));
        let handler = fields
            .value("handler")
            .and_then(|value| read::text(value, "the name of a handler", report));
        let rate = fields
            .value("rate")
            .and_then(|value| read::rate(value, report));
        let spec = NodeSpec {
            name: node.key.clone(),
            kind: NodeKind::Use(ConnectorSpec::Null),
            from,
            config_json,
            env: self.env(fields),
            env_clear: env_clear.unwrap_or(false),
            dir: self.working_dir(fields),
            handler: handler.map(str::to_owned),
            replicas: replicas.unwrap_or(1),
            concurrency,
            ordering: self.ordering(fields),
            key: fields.value("key").and_then(|value| self.expression(value)),
            batch,
            queue,
            retry: self.retry(fields),
            timeout: self.time(fields, "timeout").unwrap_or(defaults::TIMEOUT),
            start_timeout: self
                .time(fields, "start_timeout")
                .unwrap_or(defaults::START_TIMEOUT),
            rate,
            max_event,
            durability: self.durability(fields),
            discards,
            restart: self.restart(fields),
            trace: fields.value("trace").and_then(|value| self.sampling(value)),
            build: None,
        };
        self.only_default(fields, "overflow", &["block", "drop_newest"]);
        self.only_default(fields, "on_exhausted", &["dead_letter", "pause"]);
        Draft {
            spec,
            name_span: node.key_span.clone(),
            kind_known: false,
            from_spans,
            discard_spans,
            listen_span: None,
            replicas_span: fields.value("replicas").map(|value| value.span.clone()),
        }
    }

    /// A key of which only the first word is built.
    fn only_default(&mut self, fields: &Fields<'_>, key: &str, words: &[&'static str; 2]) {
        let Some(value) = fields.value(key) else {
            return;
        };
        let choices = [(words[0], true), (words[1], false)];
        if read::choice(value, &choices, &mut self.report) == Some(false) {
            let message = format!("`{key}: {}` cannot be used in this version", words[1]);
            self.report
                .add(&codes::NOT_YET, &value.span, message)
                .help(format!("remove it, or use `{}`", words[0]));
        }
    }

    /// A time above zero.
    pub(super) fn time(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        read::duration(
            fields.value(key)?,
            Duration::from_millis(1)..=LONGEST,
            &mut self.report,
        )
    }

    /// A size above zero.
    fn size(&mut self, fields: &Fields<'_>, key: &str, largest: u64) -> Option<u64> {
        read::bytes(fields.value(key)?, 1..=largest, &mut self.report)
    }

    /// A map of a node, its keys checked.
    fn section<'t>(&mut self, fields: &Fields<'t>, key: &str, keys: &[&str]) -> Option<Fields<'t>> {
        let needed = format!("a map of {}", keys.join(", "));
        let section = Fields::of(fields.value(key)?, &needed, &mut self.report)?;
        section.only(keys, &format!("`{key}`"), &mut self.report);
        Some(section)
    }

    fn batch(&mut self, fields: &Fields<'_>) -> BatchSpec {
        let mut batch = BatchSpec {
            events: defaults::BATCH_EVENTS,
            bytes: defaults::BATCH_BYTES,
            linger: None,
            latency: defaults::BATCH_LATENCY,
        };
        let Some(section) =
            self.section(fields, "batch", &["events", "bytes", "linger", "latency"])
        else {
            return batch;
        };
        let report = &mut self.report;
        if let Some(events) = section
            .value("events")
            .and_then(|value| read::integer(value, 1..=LARGEST_BATCH.0, report))
        {
            batch.events = events;
        }
        batch.bytes = self
            .size(&section, "bytes", LARGEST_BATCH.1)
            .unwrap_or(batch.bytes);
        let linger = section.value("linger");
        batch.linger = linger
            .and_then(|value| read::duration(value, Duration::ZERO..=LONGEST, &mut self.report));
        batch.latency = self.time(&section, "latency").unwrap_or(batch.latency);
        batch
    }

    fn queue(&mut self, fields: &Fields<'_>, batch: &BatchSpec) -> QueueSpec {
        let mut queue = QueueSpec {
            events: batch.events.saturating_mul(defaults::QUEUE_BATCHES),
            bytes: batch
                .bytes
                .saturating_mul(u64::from(defaults::QUEUE_BATCHES)),
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
                let message = format!(
                    "a queue of {events} events cannot hold a batch of {}",
                    batch.events
                );
                self.queue_too_small(message, &value.span, batch_place.as_ref());
            }
        }
        if let Some(value) = section.value("bytes")
            && let Some(bytes) = read::bytes(value, 1..=LARGEST, &mut self.report)
        {
            queue.bytes = bytes;
            if bytes < batch.bytes {
                let message = format!(
                    "a queue of {bytes} bytes cannot hold a batch of {}",
                    batch.bytes
                );
                self.queue_too_small(message, &value.span, batch_place.as_ref());
            }
        }
        queue
    }

    fn queue_too_small(&mut self, message: String, place: &Span, batch: Option<&Span>) {
        let diagnostic = self.report.add(&codes::QUEUE_TOO_SMALL, place, message);
        if let Some(batch) = batch {
            diagnostic.label(batch, "the batch");
        }
    }

    fn retry(&mut self, fields: &Fields<'_>) -> RetrySpec {
        let mut retry = RetrySpec {
            attempts: defaults::RETRY_ATTEMPTS,
            initial: defaults::RETRY_INITIAL,
            max: defaults::RETRY_MAX,
        };
        let Some(section) = self.section(fields, "retry", &["attempts", "initial", "max"]) else {
            return retry;
        };
        let attempts = section.value("attempts");
        if let Some(attempts) =
            attempts.and_then(|value| read::integer(value, 1..=1_000_000, &mut self.report))
        {
            retry.attempts = attempts;
        }
        (retry.initial, retry.max) = self.backoff(&section, (retry.initial, retry.max));
        retry
    }

    fn restart(&mut self, fields: &Fields<'_>) -> Restart {
        let (initial, max) = (defaults::RESTART_INITIAL, defaults::RESTART_MAX);
        let Some(value) = fields.value("restart") else {
            return Restart::Backoff { initial, max };
        };
        if let Value::Map(entries) = &value.value {
            let section = Fields {
                span: &value.span,
                entries,
            };
            section.only(&["initial", "max"], "`restart`", &mut self.report);
            let (initial, max) = self.backoff(&section, (initial, max));
            return Restart::Backoff { initial, max };
        }
        read::choice(value, &[("never", ())], &mut self.report);
        Restart::Never
    }

    /// `initial` and `max`; the one that is not written follows the other.
    fn backoff(&mut self, section: &Fields<'_>, or: (Duration, Duration)) -> (Duration, Duration) {
        let (initial, max) = (self.time(section, "initial"), self.time(section, "max"));
        if let (Some(initial), Some(max), Some(place)) = (initial, max, section.value("max"))
            && max < initial
        {
            let message = format!("`max` ({max:?}) is shorter than `initial` ({initial:?})");
            self.report
                .add(&codes::OUT_OF_RANGE, &place.span, message)
                .help("waits grow from `initial` to `max`");
        }
        let initial = initial.unwrap_or_else(|| or.0.min(max.unwrap_or(or.0)));
        (initial, max.unwrap_or_else(|| or.1.max(initial)))
    }

    fn ordering(&mut self, fields: &Fields<'_>) -> Ordering {
        let choices = [
            ("none", Ordering::None),
            ("key", Ordering::Key),
            ("all", Ordering::All),
        ];
        let Some(value) = fields.value("ordering") else {
            return Ordering::None;
        };
        let ordering = read::choice(value, &choices, &mut self.report).unwrap_or_default();
        if ordering != Ordering::None {
            self.report
                .add(
                    &codes::NOT_YET,
                    &value.span,
                    "events cannot be kept in order in this version",
                )
                .help("remove it, or use `none`");
        }
        ordering
    }

    fn durability(&mut self, fields: &Fields<'_>) -> Option<Durability> {
        let value = fields.value("durability")?;
        let choices = [
            ("journal", Durability::Journal),
            ("memory", Durability::Memory),
        ];
        let durability = read::choice(value, &choices, &mut self.report)?;
        if durability == Durability::Journal {
            self.report
                .add(
                    &codes::NOT_YET,
                    &value.span,
                    "there is no journal in this version",
                )
                .help("use `memory`, which loses what is in memory when the coordinator crashes");
        }
        Some(durability)
    }

    /// Routes that are discarded on purpose.
    fn discards(&mut self, fields: &Fields<'_>) -> (Vec<String>, Vec<Span>) {
        let Some(value) = fields.value("routes") else {
            return Default::default();
        };
        let Some(routes) = Fields::of(
            value,
            "a map of routes: `{ROUTE: discard}`",
            &mut self.report,
        ) else {
            return Default::default();
        };
        let (mut discards, mut spans) = (Vec::new(), Vec::new());
        for entry in routes.entries {
            self.check_name(&entry.key, &entry.key_span, "a route");
            if ["unmatched", "rejected"].contains(&entry.key.as_str()) {
                let message = format!(
                    "`{}` cannot be the name of a route: it has a meaning",
                    entry.key
                );
                self.report
                    .add(&codes::RESERVED_NAME, &entry.key_span, message);
            }
            read::choice(&entry.value, &[("discard", ())], &mut self.report);
            discards.push(entry.key.clone());
            spans.push(entry.key_span.clone());
        }
        (discards, spans)
    }

    fn env(&mut self, fields: &Fields<'_>) -> Vec<(String, String)> {
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
                self.report
                    .add(&codes::BAD_NAME, &entry.key_span, message)
                    .help("use letters, digits and `_`");
                continue;
            }
            if let Some(text) =
                read::written(&entry.value, "the text of a variable", &mut self.report)
            {
                variables.push((entry.key.clone(), text.to_owned()));
            }
        }
        variables
    }

    fn working_dir(&mut self, fields: &Fields<'_>) -> std::path::PathBuf {
        let Some(value) = fields.value("dir") else {
            return self.dir.to_path_buf();
        };
        let Some(written) = read::text(value, "a folder", &mut self.report) else {
            return self.dir.to_path_buf();
        };
        let dir = resolve(self.dir, written);
        if !dir.is_dir() {
            let message = format!("`{written}` is not a folder");
            let remedy = format!(
                "`dir` starts at the folder of the pipeline file, here {}",
                self.dir.display()
            );
            self.report
                .add(&codes::DIR_NOT_FOUND, &value.span, message)
                .help(remedy);
        }
        dir
    }

    /// Reads a CEL expression.
    pub(super) fn expression(&mut self, value: &Node) -> Option<Expression> {
        let source = read::text(value, "a CEL expression", &mut self.report)?;
        match Expression::compile(source) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.bad_expression(value, &error);
                None
            }
        }
    }

    /// Reports what is wrong with an expression, each at its own place.
    pub(super) fn bad_expression(
        &mut self,
        value: &Node,
        error: &crate::expression::ExpressionError,
    ) {
        for problem in &error.problems {
            let place = match &value.value {
                Value::Scalar(scalar) => scalar.locate(&value.span, &problem.at),
                _ => value.span.clone(),
            };
            let diagnostic =
                self.report
                    .add(&codes::BAD_EXPRESSION, &place, problem.message.clone());
            if let Some(remedy) = &problem.remedy {
                diagnostic.help(remedy.clone());
            }
        }
    }
}

/// Why a key does not apply, and what to do.
fn misplaced(rule: &Rule, kind: Option<&str>, role: Role) -> Option<(String, String)> {
    if let Some(kind) = kind
        && !rule.kinds.contains(&kind)
    {
        let kinds = rule
            .kinds
            .iter()
            .map(|kind| format!("`{kind}`"))
            .collect::<Vec<_>>()
            .join(" or ");
        return Some((
            format!("`{}` has no meaning for a node with `{kind}`", rule.key),
            format!("it is for nodes with {kinds}; remove it"),
        ));
    }
    match (rule.role, role) {
        (Role::Source, Role::Inner) => Some((
            format!("`{}` is for sources, and this node has `from`", rule.key),
            "set it at the source".into(),
        )),
        (Role::Inner, Role::Source) => Some((
            format!(
                "`{}` is for nodes with `from`, and this is a source",
                rule.key
            ),
            "remove it, or add `from`".into(),
        )),
        _ => None,
    }
}
