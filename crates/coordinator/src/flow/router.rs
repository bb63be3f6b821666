//! Which edges an output takes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use meshloom_config::EventView;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event, ExtensionValue},
    graph::Port,
    machine::Letter,
    origin::Deliveries,
    outputs::Routes,
};

use super::{desk::LetterNote, edge::Edge, outbox::Outbox};

/// The outputs of one node.
#[derive(Debug)]
pub(crate) struct Router {
    node: Arc<str>,
    edges: Vec<Edge>,
    main: Vec<usize>,
    unmatched: Vec<usize>,
    rejected: Vec<usize>,
    routes: HashMap<String, Vec<usize>>,
    discards: HashSet<String>,
}

/// An input as [`Router`] is built from: the port it leaves by, and the edge.
pub(crate) type Output = (Port, Edge);

impl Router {
    pub(crate) fn new(node: Arc<str>, outputs: Vec<Output>, discards: impl IntoIterator<Item = String>) -> Self {
        let mut router = Self {
            node,
            edges: Vec::with_capacity(outputs.len()),
            main: Vec::new(),
            unmatched: Vec::new(),
            rejected: Vec::new(),
            routes: HashMap::new(),
            discards: discards.into_iter().collect(),
        };
        for (index, (port, edge)) in outputs.into_iter().enumerate() {
            match port {
                Port::Main => router.main.push(index),
                Port::Unmatched => router.unmatched.push(index),
                Port::Rejected => router.rejected.push(index),
                Port::Route(name) => router.routes.entry(name).or_default().push(index),
            }
            router.edges.push(edge);
        }
        router
    }

    /// All edges, as [`Outbox::place`] wants them.
    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Puts outputs on their edges.
    pub(crate) fn route(&self, batch: Batch, routes: &Routes, mut deliveries: Deliveries, outbox: &mut Outbox) {
        if routes.is_empty() {
            return self.spread(&self.main, &self.unmatched, batch, deliveries, outbox);
        }
        for (route, rows) in routes.groups(batch.len()) {
            let taken = deliveries.take(rows.iter().copied());
            let selected = select(&batch, &rows);
            match route {
                None => self.spread(&self.main, &self.unmatched, selected, taken, outbox),
                Some(name) => self.take_route(name, selected, taken, outbox),
            }
        }
        deliveries.settle();
    }

    /// Puts outputs on the edges of a route.
    pub(crate) fn take_route(&self, route: &str, batch: Batch, deliveries: Deliveries, outbox: &mut Outbox) {
        match self.routes.get(route) {
            Some(edges) => self.spread(edges, &[], batch, deliveries, outbox),
            None if self.discards.contains(route) => deliveries.settle(),
            None => self.unrouted(route, &batch, deliveries, outbox),
        }
    }

    /// Sends what would become a dead letter to `NAME.rejected`, or to the store.
    pub(crate) fn letter(&self, letter: Letter, outbox: &mut Outbox) {
        if self.rejected.is_empty() {
            outbox.push_letter(LetterNote::new(self.node.clone(), letter));
            return;
        }
        let batch = with_reason(&letter.batch, &self.node, &letter.reason, &letter.message, letter.attempts);
        self.spread(&self.rejected, &[], batch, letter.deliveries, outbox);
    }

    /// Every edge of `edges` takes the events that its `when` passes; `unmatched` those that no conditional edge took.
    fn spread(&self, edges: &[usize], unmatched: &[usize], batch: Batch, deliveries: Deliveries, outbox: &mut Outbox) {
        let mut matched = (!unmatched.is_empty()).then(|| vec![false; batch.len()]);
        for index in edges {
            let edge = &self.edges[*index];
            edge.books.produced.fetch_add(batch.len() as u64, Ordering::Relaxed);
            let Some(when) = &edge.when else {
                self.put(*index, batch.clone(), deliveries.duplicate(), outbox);
                continue;
            };
            let mut passed: Vec<u32> = Vec::with_capacity(batch.len());
            let mut failed: Vec<u32> = Vec::new();
            for row in 0..batch.len() {
                match when.evaluate_bool(&EventView::of(&batch, row)) {
                    Ok(true) => passed.push(row as u32),
                    Ok(false) => {}
                    Err(error) => {
                        failed.push(row as u32);
                        let message =
                            format!("`when: {when}` on the edge from {} to {}: {error}", edge.label, edge.to_node);
                        let fork = deliveries.fork([row as u32]);
                        let mut letter = stray(&batch, row, fork, "WHEN_FAILED", message);
                        if edge.labels_events {
                            letter.batch = letter.batch.with_from(&edge.label);
                        }
                        outbox.push_letter(LetterNote::new(edge.to_node.clone(), letter));
                    }
                }
            }
            let skipped = batch.len() - passed.len() - failed.len();
            edge.books.skipped.fetch_add(skipped as u64, Ordering::Relaxed);
            edge.books.refused.fetch_add(failed.len() as u64, Ordering::Relaxed);
            if let Some(matched) = &mut matched {
                // One that failed waits as a letter before this very edge: it is not one that nobody took.
                passed.iter().chain(&failed).for_each(|row| matched[*row as usize] = true);
            }
            if !passed.is_empty() {
                let fork = deliveries.fork(passed.iter().copied());
                self.put(*index, select(&batch, &passed), fork, outbox);
            }
        }
        if let Some(matched) = matched {
            let rest: Vec<u32> = (0..batch.len() as u32).filter(|row| !matched[*row as usize]).collect();
            for index in unmatched {
                self.edges[*index].books.produced.fetch_add(rest.len() as u64, Ordering::Relaxed);
                if !rest.is_empty() {
                    self.put(*index, select(&batch, &rest), deliveries.fork(rest.iter().copied()), outbox);
                }
            }
        }
        deliveries.settle();
    }

    fn put(&self, index: usize, batch: Batch, deliveries: Deliveries, outbox: &mut Outbox) {
        let edge = &self.edges[index];
        let batch = if edge.labels_events { batch.with_from(&edge.label) } else { batch };
        outbox.push(index, batch, deliveries);
    }

    fn unrouted(&self, route: &str, batch: &Batch, mut deliveries: Deliveries, outbox: &mut Outbox) {
        let message = format!(
            "no node takes `{node}.{route}`; wire it (`from: {node}.{route}`) or write `routes: {{ {route}: discard }}` at {node}",
            node = self.node
        );
        for row in 0..batch.len() {
            let letter = stray(batch, row, deliveries.take([row as u32]), "UNROUTED", message.clone());
            outbox.push_letter(LetterNote { route: Some(route.into()), ..LetterNote::new(self.node.clone(), letter) });
        }
        deliveries.settle();
    }
}

/// The events of a letter with the extensions that tell what happened to them.
pub(crate) fn with_reason(batch: &Batch, node: &str, reason: &str, message: &str, attempts: u32) -> Batch {
    let mut builder = BatchBuilder::new();
    for row in 0..batch.len() {
        let mut extensions: Vec<(&str, ExtensionValue<'_>)> = batch.extensions(row).collect();
        extensions.retain(|(name, _)| !name.starts_with("meshloom"));
        extensions.push(("meshloomreason", ExtensionValue::String(reason)));
        extensions.push(("meshloommessage", ExtensionValue::String(message)));
        extensions.push(("meshloomnode", ExtensionValue::String(node)));
        extensions.push(("meshloomattempts", ExtensionValue::Integer(attempts as i32)));
        let event = Event { extensions: &extensions, ..event_of(batch, row) };
        // An event that has no room for the reason goes as it is: it must not be lost over its description.
        if builder.push(event).is_err() {
            return batch.clone();
        }
    }
    builder.finish()
}

fn select(batch: &Batch, rows: &[u32]) -> Batch {
    if rows.len() == batch.len() { batch.clone() } else { batch.select(rows).compact() }
}

/// A letter of one event that no node handled.
fn stray(batch: &Batch, row: usize, deliveries: Deliveries, reason: &'static str, message: String) -> Letter {
    let batch = batch.slice(row..row + 1).detach();
    Letter { batch, deliveries, reason: reason.into(), message, attempts: 0 }
}

/// An event of a batch, to be built anew with other extensions.
pub(crate) fn event_of(batch: &Batch, row: usize) -> Event<'_> {
    Event {
        payload: batch.payload(row),
        content_type: batch.content_type(row),
        id: batch.id(row),
        source: batch.source(row),
        type_: batch.type_(row),
        subject: batch.subject(row),
        key: batch.key(row),
        data_schema: batch.data_schema(row),
        time_ns: batch.time_ns(row),
        extensions: &[],
        span: batch.span(row),
        uid: Some(batch.uid(row)),
        from: batch.from(row),
    }
}
