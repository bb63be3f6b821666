"""Faults of the Python SDK. What they have in common with other SDKs has the same name there."""

from __future__ import annotations

import python_streams
import python_works

MUTANTS = [*python_works.MUTANTS, *python_streams.MUTANTS]
