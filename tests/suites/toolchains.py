"""The four toolchains that have to be there; everything else is installed by the project."""

from __future__ import annotations

import re
import subprocess

#: Program, how to ask for its version, the oldest one that will do, where to get it.
WANTED = [
    ("cargo", ["cargo", "--version"], (1, 90), "Rust (rust-toolchain.toml names the version): https://rustup.rs"),
    ("go", ["go", "version"], (1, 24), "Go: https://go.dev/dl"),
    ("python3", ["python3", "--version"], (3, 10), "Python 3.10 or newer with venv: https://www.python.org"),
    ("node", ["node", "--version"], (20, 11), "Node.js 20.11 or newer: https://nodejs.org"),
    ("npm", ["npm", "--version"], (9, 0), "npm, which comes with Node.js: https://nodejs.org"),
]


def missing() -> list[str]:
    """A message for each toolchain that is not there or too old."""
    return [message for wanted in WANTED if (message := _problem(*wanted))]


def _problem(name: str, command: list[str], oldest: tuple[int, int], remedy: str) -> str | None:
    least = ".".join(map(str, oldest))
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{name} cannot be run ({error}); needed: {remedy}"
    found = version(answer)
    if found is None or found < oldest:
        return f"{name} is too old: {answer.strip()}, and at least {least} is needed: {remedy}"
    return None


def version(answer: str) -> tuple[int, int] | None:
    """The first number with a point in it."""
    found = re.search(r"(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else None
