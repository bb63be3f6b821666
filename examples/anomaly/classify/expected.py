"""The alerts that the pipeline must raise, worked out on their own: python expected.py READINGS OUT/model.json

Imports neither the SDK, the node, nor scikit-learn: it parses the lines and walks the trees itself, so that it can be
held against what the pipeline delivered. Prints {"readings", "blank", "malformed", "alerts": [{"line", "sensor",
"celsius", "time", "prediction", "score"}]}; lines are counted from 1.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from datetime import datetime, timedelta


def f32(value: float) -> float:
    """What is left of a number in 32 bits."""
    return struct.unpack("<f", struct.pack("<f", value))[0]  # type: ignore[no-any-return]


def read(text: str) -> dict[str, object] | None:
    """The reading of a line, None if it is malformed."""
    parts = text.replace("temperature:", "temperature=", 1).split()
    if any("=" not in part for part in parts):
        return None
    fields = dict(part.split("=", 1) for part in parts)
    try:
        degrees = float(fields["temperature"])
        local = datetime.strptime(fields["time"], "%Y/%m/%dT%H:%M")
        sensor, unit = fields["sensor_id"], fields["unit"]
    except (KeyError, ValueError):
        return None
    if unit not in ("F", "C"):
        return None
    celsius = (degrees - 32) * 5 / 9 if unit == "F" else degrees
    if not -90 <= celsius <= 60:
        return None
    utc = local + timedelta(hours=8)
    return {"sensor": sensor, "celsius": round(celsius, 2), "time": utc.strftime("%Y-%m-%dT%H:%M:%SZ")}


def average_depth(size: int) -> float:
    """Mean depth of an unsuccessful search in a tree of `size` leaves."""
    if size < 3:
        return float(size == 2)
    return 2 * (math.log(size - 1) + 0.5772156649015329) - 2 * (size - 1) / size


def score(model: dict[str, object], row: list[float]) -> float:
    """As scikit-learn's score_samples: lower is stranger."""
    row = [f32(value) for value in row]
    total = 0.0
    for tree in model["trees"]:  # type: ignore[attr-defined]
        at, depth = 0, 0
        while tree["left"][at] != -1:
            at = tree["left"][at] if row[tree["feature"][at]] <= tree["threshold"][at] else tree["right"][at]
            depth += 1
        total += depth + average_depth(tree["size"][at])
    return -(2 ** (-total / len(model["trees"]) / average_depth(model["samples"])))  # type: ignore[arg-type]


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python expected.py READINGS MODEL.JSON", file=sys.stderr)
        return 2
    with open(sys.argv[2]) as file:
        model = json.load(file)
    counts = {"readings": 0, "blank": 0, "malformed": 0}
    alerts = []
    with open(sys.argv[1]) as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                counts["blank"] += 1
                continue
            reading = read(text)
            if reading is None:
                counts["malformed"] += 1
                continue
            counts["readings"] += 1
            time = str(reading["time"])
            angle = (int(time[11:13]) + int(time[14:16]) / 60) * 2 * math.pi / 24
            strange = score(model, [reading["celsius"], math.sin(angle), math.cos(angle)])  # type: ignore[list-item]
            if strange <= model["warning"]:
                prediction = "critical" if strange <= model["critical"] else "warning"
                alerts.append({"line": number, **reading, "prediction": prediction, "score": round(strange, 4)})
    json.dump(counts | {"alerts": alerts}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
