"""Writes side-by-side.md: ten tasks in four languages, from files that the SDKs' own tests run.

python3 sdks/side_by_side.py. What is shown of a file stands between lines that say `snippet:start` and `snippet:end`.
Standard library only.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

SDKS = Path(__file__).resolve().parent
PAGE = SDKS / "side-by-side.md"

#: Language, the word of its code fences, where the file of a task is.
LANGUAGES = [
    ("Python", "python", "python/examples/{task}.py"),
    ("Go", "go", "go/examples/{task}.go"),
    ("TypeScript", "ts", "node/examples/{task}.ts"),
    ("Rust", "rust", "rust/tests/tasks/{task}.rs"),
]

#: Task, heading, what it shows.
TASKS = [
    ("config", "Config", "Typed, with defaults, checked before the pipeline starts; unknown keys are refused."),
    ("setup", "Set-up and tear-down", "Runs once before the node is ready; what it opened is closed after the drain."),
    ("reject", "Reject", "The event becomes a dead letter now, under a reason of its own."),
    ("retry", "Retry", "The event comes again, not before the time that is asked for."),
    ("route", "Key and route", "An output says where it belongs in order, and which way it takes."),
    ("flat_map", "Several outputs", "One event in, any number out, made one at a time."),
    ("batch", "A batch in columns", "The whole batch at once; a verdict for each row."),
    ("source", "A source with checkpoints", "Goes on behind the last checkpoint that it is handed."),
    ("span", "A span of one's own", "Nests in the span of the event."),
    ("unit_test", "A unit test", "The node runs in the test's process, without a coordinator or a network."),
]

INTRODUCTION = """\
# Side by side

Ten tasks in the four SDKs. The programs are parts of files that the SDKs' tests run; this page is made from them by
`make generate`.
"""


def snippet(path: Path) -> str:
    """The marked part of a file, without the indentation that all of it has."""
    lines = path.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if "snippet:" in line]
    if len(marks) != 2 or "snippet:start" not in lines[marks[0]] or "snippet:end" not in lines[marks[1]]:
        sys.exit(f"{path}: one line with `snippet:start` and one behind it with `snippet:end` are wanted")
    text = textwrap.dedent("\n".join(lines[marks[0] + 1 : marks[1]])).strip("\n")
    return text.replace("\t", "    ")


def page() -> str:
    parts = [INTRODUCTION]
    for task, heading, what in TASKS:
        parts.append(f"## {heading}\n\n{what}\n")
        for language, fence, where in LANGUAGES:
            path = where.format(task=task)
            parts.append(f"[{language}]({path})\n\n```{fence}\n{snippet(SDKS / path)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
