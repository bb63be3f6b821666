//! Whether the memory budget suffices.

use super::{Load, node::Draft, top::Top};
use crate::{budget, diagnostic::codes, spec::NodeSpec};

impl Load<'_> {
    /// Reports a budget that leaves a source less than four of the largest events.
    pub(super) fn memory(&mut self, drafts: &[Draft], top: &Top<'_>) {
        let Some((bytes, place)) = &top.memory else {
            return;
        };
        let nodes = || drafts.iter().map(|draft| &draft.spec);
        let least = budget::least(nodes());
        if *bytes >= least {
            return;
        }
        let share = budget::source_share(*bytes, nodes());
        let largest = nodes().filter(|node| node.is_source()).map(|node| node.max_event).max().unwrap_or_default();
        let message = format!(
            "this leaves each source {}, less than four events of the largest size ({})",
            budget::size_text(share),
            budget::size_text(largest)
        );
        let windows: u64 = nodes().map(NodeSpec::reserved_bytes).sum();
        let remedy = format!(
            "use at least {}: connections and nodes reserve {}; or lower `max_event`, `batch.bytes` or `replicas`",
            budget::size_text(least.next_multiple_of(1 << 20)),
            budget::size_text(windows)
        );
        self.report.add(&codes::MEMORY_TOO_SMALL, place, message).help(remedy);
    }
}
