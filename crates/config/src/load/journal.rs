//! Whether the journal suffices, and is asked for only where it means something.

use super::{Load, node::Draft, top::Top};
use crate::{
    budget::size_text,
    connector::ConnectorSpec,
    diagnostic::codes,
    spec::{Durability, NodeKind},
};

/// How many of the largest events a journal must hold.
const EVENTS: u64 = 4;

impl Load<'_> {
    /// Reports `durability` at sources that go on from a position, and a journal that the largest event does not fit.
    pub(super) fn journal(&mut self, drafts: &[Draft], top: &Top<'_>) {
        let sources = || drafts.iter().filter(|draft| draft.kind_known && draft.spec.is_source());
        for draft in sources().filter(|draft| goes_on(&draft.spec.kind)) {
            let Some(span) = &draft.durability_span else { continue };
            let message = format!(
                "`durability` has no meaning at a source with `use: {}`: it sends events again from where it was",
                connector(&draft.spec.kind)
            );
            self.report
                .add(&codes::KEY_NOT_APPLICABLE, span, message)
                .help("remove it; it is for sources that cannot, such as `http`, `stdin` and programs without an SDK");
        }
        let Some((size, place)) = &top.journal else { return };
        let may_journal =
            sources().filter(|draft| !goes_on(&draft.spec.kind) && draft.spec.durability != Some(Durability::Memory));
        let Some(largest) = may_journal.max_by_key(|draft| draft.spec.max_event) else { return };
        let least = EVENTS * largest.spec.max_event;
        if *size < least {
            let message = format!(
                "a journal of {} does not hold four events of the largest size ({})",
                size_text(*size),
                size_text(largest.spec.max_event)
            );
            let remedy = format!("use at least {}, or lower `max_event`", size_text(least));
            self.report
                .add(&codes::JOURNAL_TOO_SMALL, place, message)
                .help(remedy)
                .label(&largest.name_span, "the source with the largest events");
        }
    }
}

/// Whether a source is known to send events again.
fn goes_on(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Use(ConnectorSpec::FileSource(_) | ConnectorSpec::Generate(_)))
}

fn connector(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Use(connector) => connector.name(),
        kind => kind.key(),
    }
}
