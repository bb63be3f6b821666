"""Trains the model on the first 60 % of the data: python train.py READINGS OUT. Same input, same model.

Writes OUT/model.joblib ({"forest", "warning", "critical"}) for Python, and OUT/model.json with the same trees for any
language: {"features", "samples", "warning", "critical", "trees": [{"feature", "threshold", "left", "right", "size"}]}.
In a tree node 0 is the root; a node with left = -1 is a leaf; go left if row[feature] <= threshold (both as 32-bit
floats). A row's depth in a tree is the leaf's depth plus c(size of the leaf), where c(n) = 2 (ln(n - 1) + 0.5772156649)
- 2 (n - 1) / n, c(2) = 1, c(1) = 0; its score is -2 ** (-mean depth / c(samples)). Lower is stranger.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import joblib
import numpy as np
from features import COLUMNS, features
from readings import load
from sklearn.ensemble import IsolationForest

TRAINING_SHARE = 0.6
TREES = 100
SEED = 2010
#: Shares of the training readings that score below the limits.
WARNING_SHARE = 0.005
CRITICAL_SHARE = 0.001


def train(path: Path) -> dict[str, object]:
    """The forest and the scores at and below which a reading is a warning, or critical."""
    readings = list(load(path))
    known = readings[: int(len(readings) * TRAINING_SHARE)]
    rows = features([r.celsius for r in known], [r.time for r in known])
    forest = IsolationForest(n_estimators=TREES, max_samples=256, random_state=SEED).fit(rows)
    scores = forest.score_samples(rows)
    return {"forest": forest, "warning": limit(scores, WARNING_SHARE), "critical": limit(scores, CRITICAL_SHARE)}


def limit(scores: np.ndarray, share: float) -> float:
    """The score below which `share` of the training readings lie, halfway to the next one, safe from rounding."""
    below = np.quantile(scores, share)
    return float((below + scores[scores > below].min()) / 2)


def plain(model: dict[str, object]) -> dict[str, object]:
    """The model without Python in it."""
    forest = model["forest"]
    assert isinstance(forest, IsolationForest)
    trees = [
        {
            "feature": tree.tree_.feature.tolist(),
            "threshold": tree.tree_.threshold.tolist(),
            "left": tree.tree_.children_left.tolist(),
            "right": tree.tree_.children_right.tolist(),
            "size": tree.tree_.n_node_samples.tolist(),
        }
        for tree in forest.estimators_
    ]
    return {
        "features": COLUMNS,
        "samples": int(forest.max_samples_),
        "warning": model["warning"],
        "critical": model["critical"],
        "trees": trees,
    }


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python train.py READINGS OUT", file=sys.stderr)
        return 2
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    model = train(source)
    # Written beside and then renamed: a node that starts meanwhile never reads half a model.
    joblib.dump(model, out / "model.joblib.new")
    os.replace(out / "model.joblib.new", out / "model.joblib")
    (out / "model.json").write_text(json.dumps(plain(model)))
    print(
        f"{out}/model.joblib: trained on {source}, "
        f"warning at {model['warning']:.4f}, critical at {model['critical']:.4f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
