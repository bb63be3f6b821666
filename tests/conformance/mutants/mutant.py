"""One rule of the protocol broken at one place of an SDK."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class Stale(Exception):
    """The SDK is not what a mutant was written for; the message names the file and the remedy."""


@dataclass(frozen=True)
class Mutant:
    """What is changed, and the check that has to notice."""

    #: The same for the same fault in several languages.
    name: str
    #: The rule of proto/README.md that is broken.
    rule: str
    #: The check of the kit that fails.
    check: str
    #: Relative to the folder of the SDK's sources.
    file: str
    #: Stands exactly once in the file.
    old: str
    new: str

    def mutated(self, sources: Path) -> str:
        """The text of the file with the fault in it. Stale: there is no such file, or not one place to change."""
        path = sources / self.file
        if not path.is_file():
            raise Stale(f"{path} is not there; change `file` of the mutant")
        text = path.read_text(encoding="utf-8")
        if (times := text.count(self.old)) != 1:
            raise Stale(f"{path} has the text of the mutant {times} times, not once; change `old`")
        return text.replace(self.old, self.new)
