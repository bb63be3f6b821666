"""Sets up, checks and tests the project: python3 tests/run.py SUITE ...; `make` calls it. Standard library only.

SUITE is one of those in suites/catalogue.py, or `all`. Steps of different lanes run side by side; what a step says goes
to target/test-logs/STEP.log, and is shown where the step fails. Exit status: 0 if everything passed, 1 if anything
failed or a suite of tests ran no test, 69 if a toolchain is missing.
"""

from __future__ import annotations

import signal
import sys
import time

from suites import catalogue, toolchains
from suites.report import Report, summary
from suites.step import ROOT, run_lanes


def main(names: list[str]) -> int:
    if not names or any(name not in catalogue.VERBS for name in names):
        print(f"usage: python3 tests/run.py SUITE ...\nSUITE: {', '.join(catalogue.VERBS)}", file=sys.stderr)
        return 2
    missing = toolchains.missing()
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 69
    # Ignored where a shell has put this into the background, and tests send it to programs that would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report = Report(ROOT / "target" / "test-logs")
    started = time.monotonic()
    for name in names:
        for stage in catalogue.VERBS[name]():
            # What could not be set up is not tested: it would fail too, and hide why.
            if not run_lanes(stage.lanes, report) and stage.needed:
                break
    print(summary(report.results, time.monotonic() - started))
    return 0 if report.passed() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
