"""How an SDK with a fault in it becomes a node, without a change to the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import go
import python
from mutant import Mutant

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / "sdks/python/src/meshloom"
GO = ROOT / "sdks/go"


@dataclass(frozen=True)
class Node:
    """The interpreter of one language."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)


#: Makes a node in an empty folder, with a fault or without. CalledProcessError: it cannot be built.
Make = Callable[[Path, Mutant | None], Node]


@dataclass(frozen=True)
class Language:
    """An SDK, and what is known to break it."""

    mutants: list[Mutant]
    make: Make


def _python(folder: Path, mutant: Mutant | None) -> Node:
    """A copy of the package, which comes before the installed one."""
    copy = folder / "meshloom"
    shutil.copytree(PYTHON, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        (copy / mutant.file).write_text(mutant.mutated(PYTHON), encoding="utf-8")
    made = subprocess.run([ROOT / "sdks/python/venv.sh"], check=True, stdout=subprocess.PIPE, text=True)
    interpreter = ROOT / "tests/nodes/python/interpreter.py"
    return Node([made.stdout.strip(), str(interpreter)], {"PYTHONPATH": str(folder)})


def _go(folder: Path, mutant: Mutant | None) -> Node:
    """A build in which the mutated file stands for the one of the checkout."""
    command = ["go", "build", "-o", str(folder / "interpreter")]
    if mutant is not None:
        mutated, overlay = folder / "mutated.go", folder / "overlay.json"
        mutated.write_text(mutant.mutated(GO), encoding="utf-8")
        overlay.write_text(json.dumps({"Replace": {str(GO / mutant.file): str(mutated)}}), encoding="utf-8")
        command += ["-overlay", str(overlay)]
    subprocess.run([*command, "./interpreter"], cwd=ROOT / "tests/nodes/go", check=True)
    return Node([str(folder / "interpreter")])


LANGUAGES = {"python": Language(python.MUTANTS, _python), "go": Language(go.MUTANTS, _go)}
