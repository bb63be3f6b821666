#!/usr/bin/env python3
"""Breaks one rule at a time in a copy of an SDK, and shows that the conformance kit notices. See README.md.

Exit status 1: a mutant survived or is stale, an SDK without a fault fails a check, or README.md has
another table.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from languages import LANGUAGES, ROOT, Language, Node
from mutant import Mutant, Stale
from table import README, table

#: What `meshloom conform` says by its exit status.
PASSED, FAILED = 0, 1

#: Long enough for a machine at work; a fault by which something never comes costs it once.
PATIENCE = "10s"


def coordinator() -> Path:
    """The program `meshloom`, of E2E_PROGRAMS or built here."""
    programs = os.environ.get("E2E_PROGRAMS")
    if programs is None:
        build = ["cargo", "build", "--quiet", "--workspace", "--all-targets", "--locked"]
        subprocess.run(build, cwd=ROOT, check=True)
        programs = str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug")
    return Path(programs).resolve() / "meshloom"


def conform(meshloom: Path, node: Node, checks: Iterable[str]) -> tuple[int, dict[str, Any], str]:
    """Runs checks against a node: exit status, findings by name of the check, and what was said beside."""
    command = [str(meshloom), "conform", "--json", "--level", "full", "--seed", "7", "--cases", "8"]
    command += ["--patience", PATIENCE, "--run", shlex.join(node.command)]
    for check in checks:
        command += ["--check", check]
    ran = subprocess.run(command, env=os.environ | node.env, capture_output=True, text=True, check=False)
    if ran.returncode not in (PASSED, FAILED):
        return ran.returncode, {}, ran.stderr.strip()
    return ran.returncode, {found["name"]: found for found in json.loads(ran.stdout)["checks"]}, ran.stderr.strip()


def sound(meshloom: Path, name: str, language: Language, mutants: list[Mutant]) -> bool:
    """Whether the SDK as it is passes all checks that are to fail with a fault."""
    checks = sorted({mutant.check for mutant in mutants})
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        node = language.make(Path(folder), None)
        status, findings, said = conform(meshloom, node, checks)
    bad = [check for check in checks if findings.get(check, {}).get("outcome") != "passed"]
    if status == PASSED and not bad:
        print(f"{name}: without a fault {len(checks)} checks pass", flush=True)
        return True
    print(f"{name}: without a fault these do not pass: {', '.join(bad)}\n{said}", flush=True)
    return False


def verdict(meshloom: Path, language: Language, mutant: Mutant) -> tuple[bool, str]:
    """Whether the mutant was caught, and how."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        try:
            node = language.make(Path(folder), mutant)
        except Stale as stale:
            return False, f"stale: {stale}"
        except subprocess.CalledProcessError as error:
            return False, f"stale: it cannot be built ({error})"
        status, findings, said = conform(meshloom, node, [mutant.check])
    if status not in (PASSED, FAILED):
        return False, f"no verdict: exit status {status}: {said}"
    found = findings[mutant.check]
    if status == FAILED and found["outcome"] == "failed":
        return True, f"caught: {found['rule']}"
    return False, f"SURVIVED: the check {found['outcome']}"


def arguments() -> argparse.Namespace:
    """What the caller wants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", nargs="*", help=f"of {', '.join(LANGUAGES)} [default: all]")
    parser.add_argument("--only", metavar="NAME", help="this mutant alone")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at one time [default: 2]")
    parser.add_argument("--table", action="store_true", help="print the table of README.md, and run nothing")
    given = parser.parse_args()
    if unknown := [name for name in given.language if name not in LANGUAGES]:
        parser.error(f"there are no mutants of {', '.join(unknown)}; known are {', '.join(LANGUAGES)}")
    given.language = given.language or list(LANGUAGES)
    known = {mutant.name for name in given.language for mutant in LANGUAGES[name].mutants}
    if given.only is not None and given.only not in known:
        parser.error(f"there is no mutant {given.only}; known are {', '.join(sorted(known))}")
    return given


def main() -> int:
    """Runs what was asked for and prints a line for each mutant."""
    given = arguments()
    known = table({name: language.mutants for name, language in LANGUAGES.items()})
    if given.table:
        print(known, end="")
        return 0
    meshloom = coordinator()
    good = known in README.read_text(encoding="utf-8")
    if not good:
        print(f"{README} does not have the table that --table prints")
    tried = caught = 0
    for name in given.language:
        language = LANGUAGES[name]
        mutants = [mutant for mutant in language.mutants if given.only in (None, mutant.name)]
        if not mutants:
            continue
        if not sound(meshloom, name, language, mutants):
            good = False
            continue
        with ThreadPoolExecutor(given.jobs) as pool:
            verdicts = pool.map(lambda mutant, of=language: verdict(meshloom, of, mutant), mutants)
            for mutant, (is_caught, how) in zip(mutants, verdicts, strict=True):
                print(f"{name:8}{mutant.name:26}{mutant.rule:5}{mutant.check:28}{how}", flush=True)
                tried, caught = tried + 1, caught + is_caught
    print(f"{caught} of {tried} mutants caught")
    return 0 if good and caught == tried else 1


if __name__ == "__main__":
    sys.exit(main())
