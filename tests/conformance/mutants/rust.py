"""Faults of the Rust SDK. What they have in common with other SDKs has the same name there."""

from __future__ import annotations

from mutant import Mutant

MUTANTS = [
    Mutant("last-lost", "W2", "work.map", "handler/events.rs", "        last.last = true;\n", ""),
    Mutant(
        "consumed-miscounted",
        "W2",
        "work.consumed-accounting",
        "handler/events.rs",
        "self.consumed += u32::from(!has_outputs);",
        "self.consumed += 2 * u32::from(!has_outputs);",
    ),
    Mutant("cancel-ignored", "W14", "cancel.reaches-handler", "serve/process.rs", "hand.cancel(cancel.sequence);", ""),
    Mutant("progress-never", "W15", "work.progress", "serve/process.rs", "_ = progress.tick() => hand.progress(),", ""),
    Mutant(
        "drain-ignored",
        "T8",
        "serve.drain",
        "serve/process.rs",
        "while (reading && !draining) || !hand.is_empty() {",
        "while reading || !hand.is_empty() {",
    ),
    Mutant(
        "limits-ignored",
        "L3",
        "limits.works",
        "serve/process.rs",
        "if hand.len() >= limits.max_in_flight_works as usize {",
        "if hand.len() >= 1000 * limits.max_in_flight_works as usize {",
    ),
    Mutant(
        "config-keys-unchecked",
        "O4",
        "open.config-unknown-key",
        "config.rs",
        "|path| unknown.push(path_of(&path))",
        "|path| drop(path_of(&path))",
    ),
    Mutant("credit-ignored", "S1", "source.credit", "handler/credit.rs", "saturating_sub(events)", "saturating_sub(0)"),
    Mutant(
        "id-not-stable",
        "S7",
        "source.ids",
        "handler/frame.rs",
        "            self.since_checkpoint = 0;\n",
        "",
    ),
    Mutant(
        "column-unchecked",
        "B2",
        "malformed.values",
        "columns/values.rs",
        "if end < start || end > data.len() {",
        "if end > data.len() {",
    ),
    Mutant(
        "span-context-dropped",
        "G1",
        "trace.span-of-call",
        "trace/mod.rs",
        "&Context::new().with_remote_span_context(parent)",
        "&Context::new()",
    ),
    Mutant(
        "drain-deaf",
        "T8",
        "serve.drain-health",
        "serve/process.rs",
        "if reading => match request {",
        "if reading && !draining => match request {",
    ),
    Mutant(
        "queue-id-made-up",
        "S7",
        "queue.ids",
        "handler/frame.rs",
        "if id.is_none() && self.replays {",
        "if id.is_none() {",
    ),
    Mutant(
        "long-checkpoint-unhashed",
        "S7",
        "source.ids-long-checkpoint",
        "handler/frame.rs",
        "const LONGEST_CHECKPOINT_IN_ID: usize = 256;",
        "const LONGEST_CHECKPOINT_IN_ID: usize = 512;",
    ),
]
