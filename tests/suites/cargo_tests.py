"""Runs test programs of the workspace, built all together: cargo_tests.py (only|without) PACKAGE ...

`cargo test -p PACKAGE` would build its dependencies with fewer features, and so most of the workspace a second time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Program = tuple[str, Path, str]


def programs(messages: str) -> Iterator[Program]:
    """Package, folder of its manifest and path of each test program, from what cargo said while it built them."""
    for line in messages.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            folder = Path(message["manifest_path"]).parent
            yield package(message["package_id"]), folder, message["executable"]


def package(identity: str) -> str:
    """Of `path+file:///x/crates/core#meshloom-core@0.1.0`, or `path+file:///x/xtask#0.1.0` where names agree."""
    place, _, name = identity.partition("#")
    return name.split("@")[0] if "@" in name else place.rsplit("/", 1)[-1]


def build() -> str:
    """Builds them; cargo's messages."""
    command = ["cargo", "test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        sys.exit(built.returncode)
    return built.stdout


def main() -> int:
    mode, *names = sys.argv[1:]
    chosen = [one for one in programs(build()) if (one[0] in names) == (mode == "only")]
    failed = []
    for _, folder, program in chosen:
        print(f"     Running {program}", flush=True)
        # As cargo does it: in the package's folder.
        status = subprocess.run(
            [program], cwd=folder, env={**os.environ, "CARGO_MANIFEST_DIR": str(folder)}, check=False
        )
        if status.returncode != 0:
            failed.append(program)
    if mode == "without":
        documented = ["cargo", "test", "--workspace", "--locked", "--doc"]
        failed += ["documentation"] if subprocess.run(documented, check=False).returncode else []
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
