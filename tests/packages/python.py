"""The Python package as it would be published: built, checked, installed where nothing of the repository is, and used.

python3 tests/packages/python.py [INTERPRETER ...]     each Python (default: this one) takes wheel and sdist

The quick start of the README runs against the coordinator with the newest versions of all that the package depends on,
from the wheel and from the sdist, and with the oldest that it says it works with. Needs a registry of packages.
"""

from __future__ import annotations

import email
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import quickstart

PACKAGE = quickstart.ROOT / "sdks" / "python"
INPUTS = [{"temperature": 31}, {"temperature": 12}, {}]
OUTPUTS = [{"temperature": 31, "hot": True}, {"temperature": 12, "hot": False}]
#: What a wheel needs besides its modules.
EXPECTED = ("meshloom/py.typed", "meshloom/_pb/batch_pb2.pyi")


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel and sdist, made from a copy of the package alone: nothing that is not committed, and nothing around it."""
    source = folder / "source"
    listed = quickstart.sh("git", "ls-files", "-z", cwd=PACKAGE).split("\0")
    for name in filter(None, listed):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, target)
    python = environment(folder / "build", sys.executable, "build")
    quickstart.sh(python, "-m", "build", "--outdir", folder / "dist", source, cwd=folder)
    [wheel], [sdist] = ((folder / "dist").glob(pattern) for pattern in ("*.whl", "*.tar.gz"))
    return wheel, sdist


def environment(folder: Path, interpreter: str, *packages: str) -> Path:
    """The python of a new virtual environment with these packages in it."""
    quickstart.sh(interpreter, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    quickstart.sh(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, cwd=folder)
    return python


def check(wheel: Path, sdist: Path) -> None:
    """What a registry, or a user, would miss."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in EXPECTED if name not in names] + [
        name for name in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml") if name not in inside
    ]
    stray = [name for name in names if not name.startswith(("meshloom/", "meshloom-")) or "__pycache__" in name]
    quickstart.expect((missing, stray), ([], []))
    fields = email.message_from_string(metadata)
    quickstart.expect(fields["Name"], "meshloom")
    quickstart.expect(fields["License-Expression"], "Apache-2.0")
    quickstart.expect(fields["Description-Content-Type"], "text/markdown")
    quickstart.expect(fields.get_payload(), (PACKAGE / "README.md").read_text())


def floors(metadata: list[str]) -> list[str]:
    """The oldest versions that the package says it works with, pinned, of its dependencies outside of extras."""
    oldest = []
    for requirement in metadata:
        if "extra ==" not in requirement:
            found = re.fullmatch(r"([A-Za-z0-9_-]+)>=([0-9.]+)", requirement)
            if found is None:
                sys.exit(f"the dependency {requirement!r} has no floor of the form NAME>=VERSION")
            oldest.append(f"{found[1]}=={found[2]}")
    return oldest


def use(name: str, python: Path, folder: Path) -> None:
    """Runs the README's quick start, and its test, with an environment's python in an empty folder."""
    folder.mkdir()
    folder.joinpath("classify.py").write_text(quickstart.snippet(PACKAGE / "README.md", "python"))
    got = quickstart.pipeline(folder, {"run": [str(python), "classify.py"]}, INPUTS)
    quickstart.expect(got, OUTPUTS)
    test = quickstart.snippet(PACKAGE / "README.md", "python", 1) + "\n\ntest_classify()\n"
    folder.joinpath("test_classify.py").write_text(test)
    quickstart.sh(python, "test_classify.py", cwd=folder)
    show = "from importlib.metadata import version as v; print('protobuf', v('protobuf'), 'grpcio', v('grpcio'))"
    print(f"{name}: {quickstart.sh(python, '-c', show, cwd=folder).strip()}: ok")


def main(interpreters: list[str]) -> None:
    """Builds once, uses it everywhere."""
    with tempfile.TemporaryDirectory(prefix="meshloom-python-") as temporary:
        folder = Path(temporary)
        wheel, sdist = build(folder)
        check(wheel, sdist)
        with zipfile.ZipFile(wheel) as archive:
            [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
        oldest = floors(required)
        for at, interpreter in enumerate(interpreters):
            ways = {"wheel, newest": [wheel], "sdist, newest": [sdist], "wheel, oldest": [wheel, *oldest]}
            for number, (name, packages) in enumerate(ways.items()):
                place = folder / f"environment-{at}-{number}"
                python = environment(place, interpreter, *map(str, packages))
                use(f"{interpreter}: {name}", python, folder / f"project-{at}-{number}")


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable])
