"""The quick start of an SDK's README, run from its published package: what tests/packages/LANG.py have in common.

Standard library only. `E2E_PROGRAMS` is the folder of the built coordinator, else target/debug of the checkout.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
#: A cold package manager beside other builds takes its time.
INSTALL_SECONDS = 900.0
RUN_SECONDS = 300.0


def snippet(readme: Path, language: str, number: int = 0) -> str:
    """The text of the `number`th (from 0) fenced code block of the README whose info string begins with `language`."""
    blocks = re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)
    if number >= len(blocks):
        sys.exit(f"{readme}: there is no block {number} of {language}, but {len(blocks)}")
    return blocks[number]


def sh(*command: str | Path, cwd: Path, seconds: float = INSTALL_SECONDS, **env: str) -> str:
    """Runs a command in a folder; what it printed. Its output is shown where it fails."""
    words = [str(word) for word in command]
    ran = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if ran.returncode != 0:
        sys.exit(f"$ {' '.join(words)}   (in {cwd})\n{ran.stdout}\nexit status {ran.returncode}")
    return ran.stdout


def pipeline(folder: Path, node: dict[str, Any], inputs: list[Any]) -> list[Any]:
    """Runs file -> node -> file in a folder; the values that came out, in order.

    `node` is the node as in a pipeline file without `from`, for instance {"run": ["python", "hot.py"]}.
    """
    programs = Path(os.environ.get("E2E_PROGRAMS", ROOT / "target" / "debug")).resolve()
    folder.joinpath("in.ndjson").write_text("".join(json.dumps(value) + "\n" for value in inputs))
    nodes = {
        "readings": {"use": "file", "with": {"path": "in.ndjson"}},
        "node": {**node, "from": "readings"},
        "out": {"use": "file", "with": {"path": "out.ndjson"}, "from": "node"},
    }
    # JSON is YAML.
    folder.joinpath("pipeline.yaml").write_text(json.dumps({"pipeline": "quickstart", "nodes": nodes}, indent=2))
    sh(programs / "meshloom", "run", "pipeline.yaml", cwd=folder, seconds=RUN_SECONDS)
    return [json.loads(line) for line in folder.joinpath("out.ndjson").read_text().splitlines()]


def expect(got: object, wanted: object) -> None:
    """Ends with what differs, if anything does."""
    if got != wanted:
        sys.exit(f"expected {json.dumps(wanted)}\nbut got  {json.dumps(got)}")
