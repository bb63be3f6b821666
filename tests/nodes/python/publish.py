"""The publisher of the e2e tests in Python.

publish.py ADDRESS COUNT publishes {"n": 1..COUNT, "do": "pass"}, waits until all is acknowledged, and says how many.
"""

from __future__ import annotations

import sys

from meshloom import Output, Publisher

#: Seconds for everything to be acknowledged, over a restart of the pipeline too.
PATIENCE = 120.0


def main(address: str, count: str) -> None:
    """Publishes."""
    publisher = Publisher(address)
    futures = [
        publisher.publish(Output({"n": n, "do": "pass"}, key=str(n), type="test"), timeout=PATIENCE)
        for n in range(1, int(count) + 1)
    ]
    publisher.close(PATIENCE)
    print(f"acknowledged {len([future.result() for future in futures])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
