//! The keys of one node.

use super::{
    Load,
    defaults::with_defaults,
    keys::{self, KINDS, Role, Rule},
    top::Top,
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
    /// Where the node itself says `durability`.
    pub(super) durability_span: Option<Span>,
    /// Where `replicas` stands.
    pub(super) replicas_span: Option<Span>,
}

impl Load<'_> {
    /// Reads all nodes.
    pub(super) fn nodes(&mut self, top: &Top<'_>) -> Vec<Draft> {
        top.nodes.entries.iter().map(|entry| self.node(entry, top.defaults)).collect()
    }

    fn node(&mut self, entry: &Entry, defaults: &[Entry]) -> Draft {
        let name = entry.key.as_str();
        if self.check_name(name, &entry.key_span, "a node") && ["unmatched", "rejected"].contains(&name) {
            let message = format!("`{name}` cannot be the name of a node: `NODE.{name}` has a meaning");
            self.report.add(&codes::RESERVED_NAME, &entry.key_span, message);
        }
        let own = Fields::of(&entry.value, "a map of the node's keys", &mut self.report);
        let known = own.is_some();
        let merged = with_defaults(own.map_or(&[], |own| own.entries), defaults);
        let fields = Fields { span: &entry.value.span, entries: &merged };
        let kind_key = if known { self.kind_key(&fields, entry) } else { None };
        let role = match fields.get("from") {
            Some(_) => Role::Inner,
            None => Role::Source,
        };
        let merged = self.applicable(merged.clone(), kind_key, role);
        let fields = Fields { span: &entry.value.span, entries: &merged };
        let mut draft = self.draft(entry, &fields);
        if let Some(kind) = kind_key.and_then(|kind| self.kind(kind, &fields, &mut draft)) {
            draft.spec.kind = kind;
            draft.kind_known = true;
        }
        draft
    }

    /// The one key that says what realises the node.
    fn kind_key(&mut self, fields: &Fields<'_>, node: &Entry) -> Option<&'static str> {
        let present: Vec<&'static str> = KINDS.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
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
                    self.report.add(&codes::KEY_NOT_APPLICABLE, &entry.key_span, message).help(remedy);
                }
            }
        }
        kept
    }

    /// Everything but the kind.
    fn draft(&mut self, node: &Entry, fields: &Fields<'_>) -> Draft {
        let (from, from_spans) = self.edges(fields);
        let (discards, discard_spans) = self.discards(fields);
        let max_event = self.size(fields, "max_event", LARGEST_EVENT).unwrap_or(defaults::MAX_EVENT);
        let batch = self.batch(fields);
        let queue = self.queue(fields, &batch);
        let config_json = match fields.value("with") {
            None => "{}".into(),
            Some(value) if value.is_null() => "{}".into(),
            Some(value) => match Fields::of(value, "a map: the node's own config", &mut self.report) {
                Some(with) => json_object(with.entries, &mut self.report),
                None => "{}".into(),
            },
        };
        let report = &mut self.report;
        let replicas = fields.value("replicas").and_then(|value| read::integer(value, 1..=1024, report));
        let concurrency = fields.value("concurrency").and_then(|value| read::integer(value, 1..=65_536, report));
        let env_clear = fields.value("env_clear").and_then(|value| read::boolean(value, report));
        let handler = fields.value("handler").and_then(|value| read::text(value, "the name of a handler", report));
        let rate = fields.value("rate").and_then(|value| read::rate(value, report));
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
            overflow: self.overflow(fields),
            retry: self.retry(fields),
            on_exhausted: self.on_exhausted(fields),
            outage: self.outage(fields),
            timeout: self.time(fields, "timeout").unwrap_or(defaults::TIMEOUT),
            start_timeout: self.time(fields, "start_timeout").unwrap_or(defaults::START_TIMEOUT),
            rate,
            max_event,
            durability: self.durability(fields),
            discards,
            restart: self.restart(fields),
            trace: fields.value("trace").and_then(|value| self.sampling(value)),
            build: None,
        };
        Draft {
            spec,
            name_span: node.key_span.clone(),
            kind_known: false,
            from_spans,
            discard_spans,
            listen_span: None,
            durability_span: fields
                .get("durability")
                .filter(|entry| !entry.inherited)
                .map(|entry| entry.key_span.clone()),
            replicas_span: fields.value("replicas").map(|value| value.span.clone()),
        }
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
    pub(super) fn bad_expression(&mut self, value: &Node, error: &crate::expression::ExpressionError) {
        for problem in &error.problems {
            let place = match &value.value {
                Value::Scalar(scalar) => scalar.locate(&value.span, &problem.at),
                _ => value.span.clone(),
            };
            let diagnostic = self.report.add(&codes::BAD_EXPRESSION, &place, problem.message.clone());
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
        let kinds = rule.kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(" or ");
        return Some((
            format!("`{}` has no meaning for a node with `{kind}`", rule.key),
            format!("it is for nodes with {kinds}; remove it"),
        ));
    }
    match (rule.role, role) {
        (Role::Source, Role::Inner) => {
            Some((format!("`{}` is for sources, and this node has `from`", rule.key), "set it at the source".into()))
        }
        (Role::Inner, Role::Source) => Some((
            format!("`{}` is for nodes with `from`, and this is a source", rule.key),
            "remove it, or add `from`".into(),
        )),
        _ => None,
    }
}
