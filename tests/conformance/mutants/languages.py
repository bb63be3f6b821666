"""How an SDK with a fault in it becomes a node, without a change to the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import go
import python
import rust
from mutant import Mutant

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / "sdks/python/src/meshloom"
GO = ROOT / "sdks/go"
RUST = ROOT / "sdks/rust/src"
#: One build at a time: all have one folder.
_RUST = threading.Lock()


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


def _rust(folder: Path, mutant: Mutant | None) -> Node:
    """A build of a workspace that has a copy of the SDK's sources, and links to all else.

    It stays where it is, and a file keeps its time while its text does: each build is one of what changed.
    """
    home = ROOT / "target/conform-mutants"
    with _RUST:
        _copy_sources(home / "workspace", mutant)
        command = ["cargo", "build", "--quiet", "--locked", "--package", "test-node", "--bin", "interpreter"]
        # A fault may leave something unused, and nothing here has to be fast.
        settings = {"RUSTFLAGS": "--cap-lints=allow", "CARGO_PROFILE_DEV_OPT_LEVEL": "0"}
        env = os.environ | settings | {"CARGO_TARGET_DIR": str(home)}
        subprocess.run(command, cwd=home / "workspace", env=env, check=True)
        return Node([shutil.copy(home / "debug/interpreter", folder)])


def _copy_sources(workspace: Path, mutant: Mutant | None) -> None:
    """Brings the copy up to date. A file that the SDK no longer has may stay there: no module names it."""
    mutated = {} if mutant is None else {mutant.file: mutant.mutated(RUST)}
    _link_around(ROOT, workspace, ("sdks", "rust", "src"))
    for file in (file for file in RUST.rglob("*") if file.is_file()):
        name = str(file.relative_to(RUST))
        text = mutated.get(name) or file.read_text(encoding="utf-8")
        copy = workspace / "sdks/rust/src" / name
        if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")


def _link_around(original: Path, copy: Path, path: tuple[str, ...]) -> None:
    """Makes `copy` a folder of links into `original`, but for the folder at `path`, which is a real one."""
    copy.mkdir(parents=True, exist_ok=True)
    if not path:
        return
    for entry in original.iterdir():
        if entry.name not in (path[0], "target", ".git") and not (copy / entry.name).exists():
            (copy / entry.name).symlink_to(entry)
    _link_around(original / path[0], copy / path[0], path[1:])


LANGUAGES = {
    "python": Language(python.MUTANTS, _python),
    "go": Language(go.MUTANTS, _go),
    "rust": Language(rust.MUTANTS, _rust),
}
