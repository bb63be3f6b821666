"""The table of README.md: every mutant once, with the languages in which it is tried."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mutant import Mutant

README = Path(__file__).with_name("README.md")

HEAD = "| mutant | rule | check | languages |\n| --- | --- | --- | --- |\n"


def table(mutants: Mapping[str, list[Mutant]]) -> str:
    """The table in Markdown, sorted by rule."""
    languages: dict[tuple[str, str, str], list[str]] = {}
    for language, of_it in mutants.items():
        for mutant in of_it:
            languages.setdefault((mutant.rule, mutant.name, mutant.check), []).append(language)
    rows = sorted(languages.items(), key=lambda row: _place(*row[0]))
    return HEAD + "".join(f"| {name} | {rule} | `{check}` | {', '.join(of)} |\n" for (rule, name, check), of in rows)


def _place(rule: str, name: str, check: str) -> tuple[str, int, str, str]:
    return re.sub(r"\d", "", rule), int(re.sub(r"\D", "", rule)), name, check
