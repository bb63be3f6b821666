"""The Rust SDK as published: the crates that `cargo package` makes, in an empty project outside the checkout.

What a registry would do is done by [patch]: the project asks for `meshloom` by its version, and the unpacked .crate
files answer. All other dependencies are those of the checkout's Cargo.lock, which a build of it has brought. The
program is the first snippet of the README. The reference documentation is built from the same files, as docs.rs does
it, and warnings fail.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from quickstart import ROOT, expect, pipeline, sh, snippet

SDK = ROOT / "sdks" / "rust"
#: In the order in which they have to be published.
CRATES = ["meshloom-proto", "meshloom"]
#: What every crate brings with it.
FILES = {"Cargo.toml", "LICENSE", "src/lib.rs"}
#: What only the SDK does.
SDK_FILES = {"README.md", "CHANGELOG.md"}

MANIFEST = """
[package]
name = "quickstart"
version = "0.1.0"
edition = "2024"

[dependencies]
meshloom = "{version}"
serde = {{ version = "1", features = ["derive"] }}
tokio = {{ version = "1", features = ["full"] }}

[patch.crates-io]
{patches}
"""


def package(into: Path) -> dict[str, Path]:
    """Packages the crates and unpacks them; the folder of each."""
    # Each can find the one before it among the others that are packaged with it, as in a registry.
    names = [word for crate in CRATES for word in ("-p", crate)]
    sh(
        "cargo",
        "package",
        *names,
        "--allow-dirty",
        "--no-verify",
        "--locked",
        "--offline",
        "--target-dir",
        into / "target",
        cwd=ROOT,
    )
    folders = {}
    for crate in CRATES:
        [archive] = [
            path
            for path in (into / "target" / "package").glob(f"{crate}-*.crate")
            if path.name[len(crate) + 1].isdigit()
        ]
        with tarfile.open(archive) as tar:
            # Ours, made a moment ago.
            tar.extractall(into)
        folders[crate] = into / archive.name.removesuffix(".crate")
    return folders


def check_files(folders: dict[str, Path]) -> None:
    """What belongs into a crate is in it, and nothing points back into the checkout."""
    for crate, folder in folders.items():
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        missing = (FILES | (SDK_FILES if crate == "meshloom" else set())) - found
        if missing:
            sys.exit(f"the crate {crate} lacks {', '.join(sorted(missing))}")
        if 'path = "../' in folder.joinpath("Cargo.toml").read_text():
            sys.exit(f"the manifest of the crate {crate} points out of it")


def main() -> None:
    """Packages, builds, runs."""
    # Not under the checkout, whose Cargo.toml would take the project for a member.
    with tempfile.TemporaryDirectory(prefix="meshloom-rust-") as folder:
        into = Path(folder).resolve()
        folders = package(into)
        check_files(folders)
        project = into / "quickstart"
        project.joinpath("src").mkdir(parents=True)
        version = folders["meshloom"].name.removeprefix("meshloom-")
        patches = "\n".join(f'{crate} = {{ path = "{path}" }}' for crate, path in folders.items())
        project.joinpath("Cargo.toml").write_text(MANIFEST.format(version=version, patches=patches))
        project.joinpath("src", "main.rs").write_text(snippet(SDK / "README.md", "rust"))
        shutil.copy(ROOT / "Cargo.lock", project / "Cargo.lock")
        # Dependencies stay built from one run to the next.
        built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "packages"
        cargo = {"CARGO_TARGET_DIR": str(built)}
        # Drops what the project does not use; what is left has the versions of the lock file.
        sh("cargo", "update", "--workspace", "--offline", cwd=project, **cargo)
        sh("cargo", "build", "--locked", "--offline", cwd=project, **cargo)
        program = built / "debug" / "quickstart"
        out = pipeline(project, {"run": [str(program)]}, [{"sensor": "roof", "degrees": 20}])
        expect(out, [{"sensor": "roof", "degrees": 68.0}])
        documented = ["cargo", "doc", "--locked", "--offline", "--no-deps"]
        for crate in CRATES:
            sh(*documented, "-p", crate, cwd=project, RUSTDOCFLAGS="-Dwarnings", **cargo)
    print("rust: the packaged crates build, run the quick start and document themselves")


if __name__ == "__main__":
    main()
