"""The suites, and the verbs of the Makefile that run them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import count
from .step import ROOT, Stage, Step

GO_MODULES = ["sdks/go", "examples/anomaly/filter", "tests/nodes/go", "tests/swap/go"]
NODE_PACKAGES = ["examples/anomaly/alert", "tests/nodes/node", "tests/swap/node"]
#: Packages of the workspace whose tests need everything else built.
END_TO_END = ["meshloom-e2e", "meshloom-chaos"]
#: What `generate` writes.
GENERATED = [
    "crates/proto/src/gen",
    "sdks/go/internal/pb",
    "sdks/node/src/gen",
    "sdks/python/src/meshloom/_pb",
    "sdks/side-by-side.md",
]

SDK_PYTHON = ROOT / "sdks/python"
SDK_NODE = ROOT / "sdks/node"
VENV = SDK_PYTHON / ".venv" / "bin" / "python"
PROGRAMS = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
BUF = SDK_NODE / "node_modules/.bin/buf"


def _cargo(suite: str, name: str, *words: str, **rest: object) -> Step:
    return Step(suite, name, ["cargo", *words], **rest)  # type: ignore[arg-type]


def _shell(suite: str, name: str, script: str, folder: Path = ROOT) -> Step:
    return Step(suite, name, ["sh", "-euc", script], folder)


# What the languages need before anything of theirs can run.


def setup_rust() -> list[Step]:
    return [_cargo("setup", "cargo build", "build", "--workspace", "--all-targets", "--locked")]


def setup_go() -> list[Step]:
    build = f'for module in {" ".join(GO_MODULES)}; do (cd "$module" && go vet ./...); done'
    return [_shell("setup", "go packages", build)]


def setup_python() -> list[Step]:
    return [Step("setup", "python environment", [str(SDK_PYTHON / "venv.sh")])]


def setup_node() -> list[Step]:
    return [Step("setup", "node packages", ["sh", str(SDK_NODE / "ready.sh"), *NODE_PACKAGES])]


def setup_tools() -> list[Step]:
    return [Step("setup", "jaeger and grpcurl", [str(ROOT / "tests/tools/install.sh")])]


# Tests.


def _cargo_tests(suite: str, name: str, mode: str) -> list[Step]:
    command = [sys.executable, "tests/suites/cargo_tests.py", mode, *END_TO_END]
    # What set-up has built is not built again with other features.
    return [Step(suite, name, command, count=count.cargo, env={"E2E_PROGRAMS": str(PROGRAMS)})]


def rust() -> list[Step]:
    return _cargo_tests("rust", "crates, sdk and nodes", "without")


def go() -> list[Step]:
    def step(module: str) -> Step:
        # The SDK is full of goroutines; its users are not.
        race = ["-race"] if module == "sdks/go" else []
        return Step("go", module, ["go", "test", "-json", *race, "./..."], ROOT / module, count.go)

    return [step(module) for module in GO_MODULES]


def python() -> list[Step]:
    pytest = [str(VENV), "-m", "pytest", "-p", "no:cacheprovider"]
    return [
        Step("python", "sdks/python", pytest, SDK_PYTHON, count.pytest),
        Step("python", "tests and demo", [*pytest, "tests/test_suites.py", "examples/anomaly"], ROOT, count.pytest),
    ]


def node() -> list[Step]:
    def step(package: str) -> Step:
        return Step("node", package, ["npm", "test", "--silent"], ROOT / package, count.node)

    return [step(package) for package in ("sdks/node", "examples/anomaly/alert", "tests/nodes/node", "tests/swap/node")]


def end_to_end() -> list[Step]:
    return _cargo_tests("e2e", "over real processes", "only")


def packages() -> list[Step]:
    programs = {"E2E_PROGRAMS": str(PROGRAMS)}
    return [
        Step(
            "packages",
            f"{language}, installed elsewhere",
            [sys.executable, f"tests/packages/{language}.py"],
            env=programs,
        )
        for language in ("python", "node", "go", "rust")
    ]


# Lints and formats.


def _ruff(suite: str, name: str, *words: str) -> list[Step]:
    ruff = [str(VENV), "-m", "ruff", *words]
    others = [
        "--config",
        str(SDK_PYTHON / "pyproject.toml"),
        "examples",
        "tests",
        "sdks/node/scripts",
        "sdks/side_by_side.py",
    ]
    return [Step(suite, f"{name} sdks/python", ruff, SDK_PYTHON), Step(suite, f"{name} others", [*ruff, *others])]


def _prettier(mode: str) -> list[str]:
    files = [f"{package}/**/*.js" for package in NODE_PACKAGES]
    return [str(SDK_NODE / "node_modules/.bin/prettier"), "--config", str(SDK_NODE / ".prettierrc.json"), mode, *files]


def lint_rust() -> list[Step]:
    clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]
    return [_cargo("lint", "cargo fmt", "fmt", "--all", "--check"), _cargo("lint", "clippy", *clippy)]


def lint_go() -> list[Step]:
    gofmt = f'found=$(gofmt -l {" ".join(GO_MODULES)}); [ -z "$found" ] || {{ echo "make fmt: $found"; exit 1; }}'
    tool = "go tool -modfile=tools/go.mod -n"
    found = f"staticcheck=$(cd sdks/go && {tool} staticcheck); revive=$(cd sdks/go && {tool} revive)"
    rules = '"$revive" -config "$OLDPWD/sdks/go/revive.toml" -exclude ./internal/pb/... ./...'
    checks = f'{found}; cd "$0"; go vet ./...; "$staticcheck" ./...; {rules}'
    modules = [Step("lint", f"vet {module}", ["sh", "-euc", checks, module]) for module in GO_MODULES]
    return [_shell("lint", "gofmt", gofmt), *modules]


def lint_python() -> list[Step]:
    return [
        *_ruff("lint", "ruff", "check"),
        *_ruff("lint", "ruff format", "format", "--check"),
        Step("lint", "mypy and pyright", ["sh", "types.sh"], SDK_PYTHON),
        Step("lint", "pdoc", ["sh", "docs.sh", str(ROOT / "target" / "docs" / "python")], SDK_PYTHON),
    ]


def lint_node() -> list[Step]:
    return [
        Step("lint", "eslint and prettier", ["npm", "run", "--silent", "lint"], SDK_NODE),
        Step("lint", "prettier of nodes", _prettier("--check")),
    ]


def lint_proto() -> list[Step]:
    proto = ROOT / "proto"
    return [
        Step("lint", "buf", [str(BUF), "lint"], proto),
        Step("lint", "buf breaking", [str(BUF), "breaking", "--against", "baseline.binpb"], proto),
    ]


# Generated code.


def generate_steps() -> list[Step]:
    buf = {"BUF": str(BUF)}
    return [
        _cargo("generate", "rust", "run", "--quiet", "--locked", "-p", "xtask", "--", "generate"),
        Step("generate", "go", ["sh", "sdks/go/generate.sh"], env=buf),
        Step("generate", "python", ["sh", "sdks/python/generate.sh"]),
        Step("generate", "node", ["sh", "sdks/node/generate.sh"], env=buf),
        Step("generate", "side by side", [sys.executable, "sdks/side_by_side.py"]),
    ]


def unchanged() -> list[Step]:
    script = (
        'changed=$(git status --porcelain -- "$@"); [ -z "$changed" ] || '
        '{ echo "not what is generated; run make generate and commit:"; echo "$changed"; git diff -- "$@"; exit 1; }'
    )
    return [Step("generate", "as committed", ["sh", "-euc", script, "sh", *GENERATED])]


def fmt_steps() -> list[Step]:
    return [
        _cargo("fmt", "rust", "fmt", "--all"),
        Step("fmt", "go", ["gofmt", "-w", *GO_MODULES]),
        *_ruff("fmt", "ruff", "format"),
        Step("fmt", "node sdk", ["npm", "run", "--silent", "format"], SDK_NODE),
        Step("fmt", "node packages", _prettier("--write")),
    ]


# Verbs.

Stages = list[Stage]


def _set_up(*lanes: list[Step]) -> Stage:
    return Stage(list(lanes), needed=True)


def verb_setup() -> Stages:
    return [_set_up(setup_rust(), [*setup_python(), *setup_node(), *setup_go(), *setup_tools()])]


def _lint_others() -> list[Step]:
    return [*lint_python(), *lint_node(), *lint_proto(), *lint_go()]


def verb_all() -> Stages:
    return [
        *verb_setup(),
        Stage([[*rust(), *lint_rust()], [*python(), *node(), *go(), *_lint_others()]]),
        Stage([[*end_to_end(), *packages()]]),
        # Alone: it writes the files that all others read.
        Stage([[*generate_steps(), *unchanged()]]),
    ]


def verb_lint() -> Stages:
    return [_set_up([*setup_python(), *setup_node()]), Stage([lint_rust(), _lint_others()])]


def verb_check_generate() -> Stages:
    return [_set_up(setup_node()), Stage([[*generate_steps(), *unchanged(), *lint_proto()]])]


def _become(script: str) -> Stages:
    # What it prints is what it is for: shown as it comes.
    path = str(ROOT / "tests" / script)
    sys.exit(os.spawnv(os.P_WAIT, path, [path]))


def verb_bench() -> Stages:
    return _become("bench/run.sh")


def verb_chaos() -> Stages:
    return _become("chaos/run.sh")


def verb_conform_long() -> Stages:
    return _become("conformance/long.sh")


def verb_conform_mutants() -> Stages:
    return _become("conformance/mutants/run.py")


def verb_mutants() -> Stages:
    return _become("mutants/run.sh")


def verb_clean() -> Stages:
    folders = ["target", "examples/anomaly/out", "examples/anomaly/filter/build", "examples/anomaly/classify/model"]
    folders += ["examples/anomaly/.meshloom", "sdks/python/.venv"]
    folders += ["sdks/node/dist", "sdks/node/build", "sdks/node/node_modules"]
    folders += [f"{package}/node_modules" for package in NODE_PACKAGES]
    for folder in folders:
        shutil.rmtree(ROOT / folder, ignore_errors=True)
    (ROOT / "examples/anomaly/classify/.venv").unlink(missing_ok=True)
    sys.exit(0)


VERBS = {
    "all": verb_all,
    "setup": verb_setup,
    "lint": verb_lint,
    "fmt": lambda: [_set_up([*setup_python(), *setup_node()]), Stage([fmt_steps()])],
    "generate": lambda: [_set_up(setup_node()), Stage([generate_steps()])],
    "check-generate": verb_check_generate,
    "e2e": lambda: [*verb_setup(), Stage([end_to_end()])],
    "packages": lambda: [*verb_setup(), Stage([packages()])],
    "rust": lambda: [_set_up(setup_rust()), Stage([rust()])],
    "go": lambda: [Stage([go()])],
    "python": lambda: [_set_up(setup_python()), Stage([python()])],
    "node": lambda: [_set_up(setup_node()), Stage([node()])],
    "bench": verb_bench,
    "chaos": verb_chaos,
    "conform-long": verb_conform_long,
    "conform-mutants": verb_conform_mutants,
    "mutants": verb_mutants,
    "clean": verb_clean,
}
