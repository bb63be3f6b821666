"""Batch: all columns at once. Rows without a temperature are rejected, the others become one average."""

# snippet:start
import numpy as np

from meshloom import Batch, Emitter, Node

node = Node("average")


@node.batch
def average(batch: Batch, out: Emitter) -> None:
    celsius = batch.to_numpy("celsius")[:, 0]
    missing = np.isnan(celsius)
    out.reject(missing, "no temperature", reason="NO_TEMPERATURE")
    if not missing.all():
        out.whole({"readings": int((~missing).sum()), "celsius": celsius[~missing].mean()})


# snippet:end


if __name__ == "__main__":
    node.serve()
