"""How many tests passed, failed and were skipped, read from what the test programs of the languages print."""

from __future__ import annotations

import json
import re

from .step import Count

#: What the tests of one program that failed have said, their names, and the result.
_FAILURES = re.compile(r"^failures:\n.*?^test result: FAILED.*?$", re.MULTILINE | re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _sum(pattern: str, text: str) -> int:
    return sum(int(number) for number in re.findall(pattern, text, re.MULTILINE))


def cargo(text: str) -> Count:
    """`test result: ok. 12 passed; 0 failed; 1 ignored; ...`, once per test program."""
    text = _COLOUR.sub("", text)
    result = r"^test result: \w+\. "
    return Count(
        passed=_sum(result + r"(\d+) passed", text),
        failed=_sum(result + r"\d+ passed; (\d+) failed", text),
        skipped=_sum(result + r"\d+ passed; \d+ failed; (\d+) ignored", text),
    )


def go(text: str) -> Count:
    """The events of `go test -json`. Tests and subtests count; a package that does not build is a failure."""
    counts = {"pass": 0, "fail": 0, "skip": 0}
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        action = event.get("Action")
        if action in counts and ("Test" in event or action == "fail"):
            counts[action] += 1
    return Count(counts["pass"], counts["fail"], counts["skip"])


def pytest(text: str) -> Count:
    """The last line: `1 failed, 12 passed, 1 skipped in 3.20s`."""
    lines = [line for line in _COLOUR.sub("", text).splitlines() if re.search(r" in [\d.]+s", line)]
    last = lines[-1] if lines else ""
    return Count(
        passed=_sum(r"(\d+) passed", last),
        failed=_sum(r"(\d+) failed", last) + _sum(r"(\d+) errors?", last),
        skipped=_sum(r"(\d+) skipped", last),
    )


def unittest(text: str) -> Count:
    """`Ran 12 tests in 0.1s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=2)`."""
    ran = _sum(r"^Ran (\d+) tests?", text)
    failed = _sum(r"failures=(\d+)", text) + _sum(r"errors=(\d+)", text)
    skipped = _sum(r"skipped=(\d+)", text)
    return Count(passed=ran - failed - skipped, failed=failed, skipped=skipped)


def node(text: str) -> Count:
    """The summary of `node --test`, as TAP (`# pass 12`) or as a person sees it (`i pass 12`)."""
    text = _COLOUR.sub("", text)
    mark = r"^(?:#|\u2139) "
    return Count(
        passed=_sum(mark + r"pass (\d+)", text),
        failed=_sum(mark + r"fail (\d+)", text) + _sum(mark + r"cancelled (\d+)", text),
        skipped=_sum(mark + r"skipped (\d+)", text) + _sum(mark + r"todo (\d+)", text),
    )


def readable(text: str) -> str:
    """What a log says to a person: of cargo's and Go's tests the output of those that failed, others as they are."""
    if failures := _FAILURES.findall(_COLOUR.sub("", text)):
        return "\n".join(failures)
    if not text.lstrip().startswith("{"):
        return text
    output: dict[tuple[str, str], list[str]] = {}
    failed: list[tuple[str, str]] = []
    rest: list[str] = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            rest.append(line)
            continue
        of = (event.get("Package", event.get("ImportPath", "")), event.get("Test", ""))
        if event.get("Action") in ("output", "build-output"):
            output.setdefault(of, []).append(event.get("Output", ""))
        elif event.get("Action") in ("fail", "build-fail"):
            failed.append(of)
    return "\n".join(rest) + "".join("".join(output.get(of, [])) for of in failed)
