"""Faults of the Go SDK. What they have in common with other SDKs has the same name there."""

from __future__ import annotations

from mutant import Mutant

MUTANTS = [
    Mutant(
        "last-lost",
        "W2",
        "work.map",
        "work.go",
        "result.Last, result.Consumed, result.Busy = true,",
        "result.Last, result.Consumed, result.Busy = false,",
    ),
    Mutant(
        "consumed-miscounted", "W2", "work.consumed-accounting", "worker.go", "\t\tr.consumed++", "\t\tr.consumed += 2"
    ),
    Mutant(
        "unaccounted-left-out",
        "W10",
        "batch-handler.unmentioned",
        "batch.go",
        "\t\tcase e.whole:\n",
        "\t\tcase true:\n",
    ),
    Mutant(
        "attempts-not-passed",
        "W12",
        "work.attempts",
        "process.go",
        "columns.DecodeAttempts(pb.GetAttempts(), view.Count)",
        "columns.DecodeAttempts(nil, view.Count)",
    ),
    Mutant(
        "timeout-not-answered",
        "W13",
        "timeout.call",
        "process.go",
        "\t\tw.timeout = t.AsDuration()\n",
        "",
    ),
    Mutant(
        "cancel-ignored",
        "W14",
        "cancel.reaches-handler",
        "process.go",
        "go w.takeBack(r.Cancel.GetReason())",
        "continue",
    ),
    Mutant("progress-never", "W15", "work.progress", "process.go", "\t\t\t\ts.progress(works, now)\n", ""),
    Mutant(
        "config-keys-unchecked",
        "O4",
        "open.config-unknown-key",
        "config.go",
        'd.refuse(join(path, name), "unknown key, %s", knownKeys(fields))',
        "_ = name",
    ),
    Mutant(
        "set-up-per-stream",
        "O5",
        "setup.once",
        "instance.go",
        "if one.body != nil {\n\t\treturn one.body, nil\n\t}",
        "",
    ),
    Mutant(
        "limits-ignored",
        "L3",
        "limits.works",
        "process.go",
        "len(s.works) >= int(max)",
        "len(s.works) >= 1000*int(max)",
    ),
    Mutant(
        "key-held-left-out",
        "K2",
        "order.key-held",
        "worker.go",
        "\t\tr.held = true\n",
        "\t\tr.held = false\n",
    ),
    Mutant("credit-ignored", "S1", "source.credit", "produce.go", "\tp.events--\n", ""),
    Mutant(
        "checkpoint-repeated",
        "S5",
        "source.checkpoint-repeated",
        "source.go",
        "if n.checkpoint != nil && bytes.Equal(n.checkpoint, checkpoint) {",
        "if n.checkpoint != nil && bytes.Equal(n.checkpoint, nil) {",
    ),
    Mutant(
        "id-not-stable",
        "S7",
        "source.ids",
        "source.go",
        "n.checkpoint, n.prefix, n.count = checkpoint, idPrefix(checkpoint), 0",
        "n.checkpoint, n.prefix = checkpoint, idPrefix(checkpoint)",
    ),
    Mutant(
        "exhausted-lost",
        "S8",
        "source.runs-out",
        "produce.go",
        "return p.stream.Send(&meshloomv1.ProduceResponse{Response: "
        "&meshloomv1.ProduceResponse_Exhausted{Exhausted: &meshloomv1.Exhausted{}}})",
        "return nil",
    ),
    Mutant(
        "settled-not-told",
        "S10",
        "source.settled",
        "produce.go",
        "p.settler.settle(r.Settled.GetSequence(), r.Settled.Checkpoint)",
        "_ = r",
    ),
]
