"""What the model looks at: the temperature and the hour of day, as a circle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

COLUMNS = ("celsius", "hour_sin", "hour_cos")


def features(celsius: Sequence[float], times: Sequence[str]) -> npt.NDArray[np.float64]:
    """One row per reading; `times` are UTC, RFC 3339."""
    hours = np.array([int(time[11:13]) + int(time[14:16]) / 60 for time in times], dtype=np.float64)
    angle = hours * (2 * np.pi / 24)
    return np.column_stack((np.asarray(celsius, dtype=np.float64), np.sin(angle), np.cos(angle)))
