"""Node `classify`: scores whole batches of readings with a trained IsolationForest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import joblib
import msgspec
import numpy as np
from features import features

from meshloom import Batch, ConfigError, Context, Emitter, Node


@dataclass
class Config:
    """`model`: path of the model.joblib that train.py wrote."""

    model: str


class Reading(TypedDict):
    """One reading: degrees Celsius; time in UTC, RFC 3339."""

    sensor: str
    celsius: float
    time: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


node = Node("classify", config=Config)


@node.setup
def load(config: Config) -> dict[str, Any]:
    """The model, read once per process."""
    if not Path(config.model).is_file():
        raise ConfigError(f"there is no {config.model}; make it with train.py", field="model")
    return joblib.load(config.model)  # type: ignore[no-any-return]


@node.batch
def classify(batch: Batch, out: Emitter, ctx: Context[Config, dict[str, Any]]) -> None:
    """Adds "prediction" (normal, warning, critical) and "score" (lower is stranger)."""
    readings = batch.json(Reading, reject_to=out)
    rows = [row for row, reading in enumerate(readings) if reading is not None]
    if not rows:
        return
    good = [readings[row] for row in rows]
    model = ctx.state
    scores = model["forest"].score_samples(features([r["celsius"] for r in good], [r["time"] for r in good]))
    levels = np.select([scores <= model["critical"], scores <= model["warning"]], ["critical", "warning"], "normal")
    results = [
        reading | {"prediction": level, "score": round(score, 4)}
        for reading, level, score in zip(good, levels.tolist(), scores.tolist(), strict=True)
    ]
    out.rows(results, parents=rows)


if __name__ == "__main__":
    node.serve()
