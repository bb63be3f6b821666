"""Installs and builds the Node.js SDK and packages that use it, where anything changed since. See ready.sh."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent


def digest(*paths: Path) -> str:
    """What the work depends on: the version of Node.js and these files, folders with all in them."""
    parts = hashlib.sha256(subprocess.run(["node", "--version"], check=True, capture_output=True).stdout)
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                parts.update(f"{file}\n".encode() + file.read_bytes())
    return parts.hexdigest()


def once(stamp: Path, state: str, work: list[list[str]], folder: Path) -> None:
    """Does the work unless the stamp says that it was done for this state."""
    if stamp.is_file() and stamp.read_text() == state:
        return
    for command in work:
        subprocess.run(command, check=True, cwd=folder, stdout=sys.stderr)
    stamp.write_text(state)


def installed(folder: Path) -> None:
    """`npm ci` in a folder with a lock file."""
    stamp = folder / "node_modules" / ".meshloom-installed"
    once(stamp, digest(folder / "package-lock.json"), [["npm", "ci", "--no-fund", "--no-audit"]], folder)


def main() -> int:
    with open(SDK / "package.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            installed(SDK)
            inputs = [SDK / name for name in ("src", "package.json", "tsconfig.json", "tsconfig.cjs.json", "scripts")]
            built = SDK / "node_modules" / ".meshloom-built"
            if not (SDK / "dist").is_dir():
                built.unlink(missing_ok=True)
            once(built, digest(SDK / "package-lock.json", *inputs), [["npm", "run", "--silent", "build"]], SDK)
            for folder in sys.argv[1:]:
                installed(Path(folder).resolve())
        except FileNotFoundError as error:
            print(f"{error.filename} is not there: Node.js 20.11 or newer and npm are needed", file=sys.stderr)
            return 69
        except subprocess.CalledProcessError as error:
            return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
