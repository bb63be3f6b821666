"""Node `classify`: scores whole batches of readings with a trained IsolationForest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import joblib
from features import features
from msgspec import Meta
from sklearn.ensemble import IsolationForest

from meshloom import Batch, ConfigError, Context, Emitter, Node


@dataclass
class Config:
    """`model`: path of the model.joblib that train.py wrote."""

    model: str


class Reading(TypedDict):
    """One reading: degrees Celsius; time in UTC, RFC 3339."""

    sensor: str
    celsius: float
    time: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


@dataclass
class Model:
    """A forest, and the scores at and below which a reading is a warning, or critical."""

    forest: IsolationForest
    warning: float
    critical: float

    def level(self, score: float) -> str:
        """normal, warning or critical."""
        if score <= self.critical:
            return "critical"
        return "warning" if score <= self.warning else "normal"


node = Node[Config, Model]("classify", config=Config)


@node.setup
def load(config: Config) -> Model:
    """The model, read once per process."""
    if not Path(config.model).is_file():
        raise ConfigError(f"there is no {config.model}; make it with train.py", field="model")
    return Model(**joblib.load(config.model))


@node.batch
def classify(batch: Batch, out: Emitter, ctx: Context[Config, Model]) -> None:
    """Adds "prediction" (normal, warning, critical) and "score" (lower is stranger)."""
    readings = batch.valid(Reading, out)  # by row; the other rows are rejected
    if not readings:
        return
    rows = features([r["celsius"] for r in readings.values()], [r["time"] for r in readings.values()])
    scores = ctx.state.forest.score_samples(rows).tolist()
    for (row, reading), score in zip(readings.items(), scores, strict=True):
        out.emit(row, {**reading, "prediction": ctx.state.level(score), "score": round(score, 4)})


if __name__ == "__main__":
    node.serve()
