"""Tests of what tests/run.py counts and how it ends: python -m pytest tests/test_suites.py"""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from pathlib import Path

from suites import cargo_tests, count, toolchains
from suites.report import Report, summary
from suites.step import Count, Step, run_lanes

CARGO = """
running 3 tests
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s
test result: \x1b[31mFAILED\x1b[0m. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out
"""
GO = """{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"wrong sum\\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL p\\n"}
{"Action":"fail","Package":"p"}
{"Action":"pass","Package":"q"}
"""
BROKEN = """{"ImportPath":"p","Action":"build-output","Output":"undefined: x\\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p"}
"""


class Counts(unittest.TestCase):
    def test_cargo(self) -> None:
        assert count.cargo(CARGO) == Count(5, 4, 1)

    def test_go(self) -> None:
        assert count.go(GO) == Count(1, 2, 1)
        assert count.go(BROKEN) == Count(0, 1, 0)

    def test_pytest(self) -> None:
        assert count.pytest("1 failed\n2 failed, 12 passed, 1 skipped, 3 errors in 3.20s\n") == Count(12, 5, 1)
        assert count.pytest("no tests ran in 0.01s") == Count()

    def test_unittest(self) -> None:
        assert count.unittest("Ran 5 tests in 0.1s\n\nOK (skipped=1)") == Count(4, 0, 1)
        assert count.unittest("Ran 5 tests in 0.1s\n\nFAILED (failures=1, errors=2)") == Count(2, 3, 0)

    def test_node(self) -> None:
        assert count.node("# pass 7\n# fail 1\n# cancelled 1\n# skipped 2\n# todo 0\n") == Count(7, 2, 2)
        assert count.node("ℹ pass 7\nℹ fail 0\n") == Count(7, 0, 0)

    def test_what_failed_is_readable(self) -> None:
        assert count.readable(GO) == "wrong sum\nFAIL p\n"
        assert "undefined: x" in count.readable(BROKEN)
        assert count.readable("plain\ntext") == "plain\ntext"

    def test_of_cargo_only_failures_are_shown(self) -> None:
        failure = (
            "failures:\n\n---- a stdout ----\nwrong\n\nfailures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed"
        )
        log = f"running 1 test\ntest b ... ok\ntest result: ok. 1 passed\n\n{failure}\n\ntest result: ok. 2 passed\n"
        assert count.readable(log) == failure
        assert count.readable(log.replace("FAILED", "\x1b[31mFAILED\x1b[0m")) == failure


class TestPrograms(unittest.TestCase):
    def test_they_are_found_among_what_cargo_says(self) -> None:
        def artifact(identity: str, test: bool, executable: str | None) -> str:
            message = {"reason": "compiler-artifact", "package_id": identity, "manifest_path": "/x/a/Cargo.toml"}
            return json.dumps({**message, "profile": {"test": test}, "executable": executable})

        core, xtask = "path+file:///x/crates/core#meshloom-core@0.1.0", "path+file:///x/crates/xtask#0.1.0"
        lines = [artifact(core, True, "/t/core"), artifact(core, False, None), artifact(xtask, True, "/t/xtask")]
        lines += [artifact(core, False, "/t/bin"), json.dumps({"reason": "build-finished", "success": True})]
        found = list(cargo_tests.programs("\n".join(lines)))
        assert found == [("meshloom-core", Path("/x/a"), "/t/core"), ("xtask", Path("/x/a"), "/t/xtask")]


class Runs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.report = Report(Path(folder.name))
        self.said: list[str] = []
        self.report._say = self.said.append  # type: ignore[method-assign]

    def step(self, script: str, counted: bool = True) -> Step:
        return Step("s", f"n{id(script)}", [sys.executable, "-c", script], count=count.pytest if counted else None)

    def run_steps(self, *steps: Step) -> str:
        self.all_well = run_lanes([[step] for step in steps], self.report)
        return summary(self.report.results, 61)

    def test_all_is_well(self) -> None:
        text = self.run_steps(self.step("print('2 passed in 1.0s')"), self.step("", counted=False))
        assert self.all_well
        assert self.report.passed()
        assert text.split("\n")[-1] == f"{'all':<15} 3 passed, 0 failed in 1 min 1 s"

    def test_a_failure_is_shown_and_fails_the_run(self) -> None:
        text = self.run_steps(self.step("print('why'); print('1 failed, 2 passed in 1.0s'); raise SystemExit(1)"))
        assert not (self.all_well)
        assert not (self.report.passed())
        assert "s               2 passed, 1 failed" in text
        assert "    why" in self.said[-1]

    def test_a_suite_that_runs_no_test_has_failed(self) -> None:
        text = self.run_steps(self.step("print('no tests ran in 0.01s')"))
        assert not self.report.passed()
        assert "0 passed, 1 failed" in text

    def test_a_crash_without_a_count_has_failed(self) -> None:
        self.run_steps(self.step("print('2 passed in 1.0s'); raise SystemExit(3)"))
        assert not self.report.passed()
        assert "exit status 3" in self.said[-1]

    def test_a_program_that_is_not_there_has_failed(self) -> None:
        self.run_steps(Step("s", "n", ["/nowhere/program"]))
        assert not self.report.passed()
        assert "cannot be run" in self.said[-1]

    def test_nothing_run_is_not_passed(self) -> None:
        assert not self.report.passed()


class Toolchains(unittest.TestCase):
    def test_versions(self) -> None:
        assert toolchains.version("go version go1.26.8 linux/amd64") == (1, 26)
        assert toolchains.version("v20.20.2") == (20, 20)
        assert toolchains.version("nothing") is None

    def test_what_is_missing_is_said(self) -> None:
        message = toolchains._problem("no-such", ["/nowhere/no-such"], (1, 0), "get it there")
        assert "no-such cannot be run" in (message or "")
        old = toolchains._problem("python", [sys.executable, "--version"], (99, 0), "get it there")
        assert "is too old: Python" in (old or "")
        assert toolchains._problem("python", [sys.executable, "--version"], (3, 0), "") is None


if __name__ == "__main__":
    unittest.main()
