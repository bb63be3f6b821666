"""Makes the project's virtual environment: idempotent, safe to run from several processes at once. See venv.sh."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
LOCK_FILE = HERE / "requirements" / "dev.txt"
FLOOR = (3, 10)


def wanted() -> str:
    """What the environment depends on: if it changes, the environment is made afresh."""
    parts = hashlib.sha256()
    for path in (LOCK_FILE, HERE / "pyproject.toml"):
        parts.update(path.read_bytes())
    parts.update(f"{sys.version}\n{HERE}".encode())
    return parts.hexdigest()


def make(venv: Path) -> None:
    """Installs the hash-pinned requirements, then this package in place."""
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(LOCK_FILE)], check=True, stdout=sys.stderr)
    editable = [*pip, "--no-deps", "--no-build-isolation", "-e", str(HERE)]
    subprocess.run(editable, check=True, stdout=sys.stderr)


def main() -> int:
    if sys.version_info < FLOOR:
        print(f"Python {sys.version.split()[0]} is too old: 3.10 or newer is needed (set PYTHON)", file=sys.stderr)
        return 69
    venv, stamp = HERE / ".venv", HERE / ".venv" / ".meshloom-stamp"
    with open(HERE / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == wanted()):
            make(venv)
            stamp.write_text(wanted())
    print(venv / "bin" / "python")
    return 0


if __name__ == "__main__":
    sys.exit(main())
