"""The Node.js package: packed from a clean copy, installed into empty projects (ESM, CommonJS, TypeScript), its quick
start run against the coordinator. Needs Node.js 20.11 or newer and npm."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from quickstart import ROOT, expect, pipeline, sh, snippet

SDK = ROOT / "sdks" / "node"
README = SDK / "README.md"
INPUTS = [{"celsius": 31.5, "sensor": "roof"}, {"celsius": 12, "sensor": "cellar"}]
#: What is in npm's cache need not be asked for.
QUIET = ["--no-fund", "--no-audit", "--prefer-offline"]
WANTED = [{**INPUTS[0], "hot": True}, {**INPUTS[1], "hot": False}]


def packed(folder: Path) -> Path:
    """The tarball as `npm publish` would send it, from nothing but the sources."""
    clean = folder / "clean"
    shutil.copytree(SDK, clean, ignore=shutil.ignore_patterns("node_modules", "dist", "build", "docs"))
    sh("npm", "ci", "--ignore-scripts", *QUIET, cwd=clean)
    sh("npm", "pack", "--pack-destination", folder, cwd=clean)
    (tarball,) = folder.glob("meshloom-*.tgz")
    return tarball


def project(folder: Path, tarball: Path, *packages: str) -> Path:
    """An empty project with the package installed, and others besides."""
    folder.mkdir()
    folder.joinpath("package.json").write_text(json.dumps({"name": "quickstart", "private": True}))
    sh("npm", "install", *QUIET, tarball, *packages, cwd=folder)
    return folder


def quick_start(folder: Path, language: str, number: int, file: str) -> None:
    """Runs a snippet of the README, which names its file in the first line, as a node of a pipeline."""
    text = snippet(README, language, number)
    expect(text.splitlines()[0], f"// {file}")
    folder.joinpath(file).write_text(text)
    if file.endswith(".mts"):
        tsc = SDK / "node_modules" / "typescript" / "bin" / "tsc"
        options = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,esnext.disposable"]
        sh("node", tsc, *options, file, cwd=folder)
        file = file.replace(".mts", ".mjs")
    expect(pipeline(folder, {"run": ["node", file]}, INPUTS), WANTED)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="package-node-") as name:
        folder = Path(name)
        tarball = packed(folder)
        quick_start(project(folder / "cjs", tarball), "js", 1, "hot.cjs")
        esm = project(folder / "esm", tarball, "zod@4")
        quick_start(esm, "js", 0, "hot.mjs")
        quick_start(esm, "ts", 0, "hot.mts")
    print("the package's quick start works from ESM, CommonJS and TypeScript")


if __name__ == "__main__":
    main()
