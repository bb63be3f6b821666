#!/usr/bin/env python3
"""The Go module as a proxy serves it: `go get` in an empty module elsewhere, then the README's first snippet.

Other modules come from the module cache of this machine, and from the usual proxy where they are not in it.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from pathlib import Path

from quickstart import ROOT, expect, pipeline, sh, snippet

SDK = ROOT / "sdks" / "go"
MODULE = "github.com/meshloom/meshloom/sdks/go"


def version() -> str:
    """The version that the SDK says of itself, which its tag must be."""
    found = re.search(r'^const Version = "(.+)"$', SDK.joinpath("doc.go").read_text(), re.MULTILINE)
    assert found, "doc.go states no Version"
    return f"v{found[1]}"


def files() -> list[Path]:
    """The files of the module: modules inside it are their own."""
    nested = [path.parent for path in SDK.rglob("go.mod") if path.parent != SDK]
    return sorted(
        path for path in SDK.rglob("*") if path.is_file() and not any(folder in path.parents for folder in nested)
    )


def publish(proxy: Path) -> None:
    """Puts the module into a folder laid out as the module proxy protocol has it."""
    at = version()
    folder = proxy / MODULE / "@v"
    folder.mkdir(parents=True)
    folder.joinpath("list").write_text(f"{at}\n")
    folder.joinpath(f"{at}.info").write_text(json.dumps({"Version": at, "Time": "2026-01-01T00:00:00Z"}))
    folder.joinpath(f"{at}.mod").write_bytes(SDK.joinpath("go.mod").read_bytes())
    with zipfile.ZipFile(folder / f"{at}.zip", "w", zipfile.ZIP_DEFLATED) as module:
        for path in files():
            module.write(path, f"{MODULE}@{at}/{path.relative_to(SDK)}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="meshloom-go-") as temporary:
        work = Path(temporary)
        publish(work / "proxy")
        cached, usual = sh("go", "env", "GOMODCACHE", "GOPROXY", cwd=work).split()
        env = {
            "GOPROXY": f"file://{work / 'proxy'},file://{cached}/cache/download,{usual}",
            "GONOSUMDB": MODULE,  # not published: no checksum database knows it
            "GOMODCACHE": str(work / "cache"),  # of its own: the next run's module has the same version
            "GOFLAGS": "-mod=mod -modcacherw -trimpath -buildvcs=false",
            "GOWORK": "off",
        }
        project = work / "hot"
        project.mkdir()
        project.joinpath("main.go").write_text(snippet(SDK / "README.md", "go"))
        sh("go", "mod", "init", "example.com/hot", cwd=project, **env)
        # What the SDK was built with, so that no checksum database has to be asked for the others.
        project.joinpath("go.sum").write_bytes(SDK.joinpath("go.sum").read_bytes())
        sh("go", "get", f"{MODULE}@{version()}", cwd=project, **env)
        sh("go", "mod", "verify", cwd=project, **env)
        sh("go", "vet", ".", cwd=project, **env)
        sh("go", "build", "-o", "hot", ".", cwd=project, **env)
        # The test kit is a package of the module too, and has to come with it.
        sh("go", "build", f"{MODULE}/...", cwd=project, **env)
        readings = [{"sensor": "roof", "celsius": 31.5}, {"sensor": "cellar", "celsius": 12}]
        expect(pipeline(project, {"run": ["./hot"]}, readings), readings[:1])


if __name__ == "__main__":
    main()
