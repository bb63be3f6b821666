#!/bin/sh
# Generates src/meshloom/_pb from proto/meshloom/v1. Deterministic: the generator is pinned by version and hash.
# grpcio-tools 1.62 is the newest whose code runs with every protobuf runtime from 4.25 on (no version check in it).
# PYTHON chooses an interpreter for which that version has a wheel (3.10 to 3.12).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${MESHLOOM_CACHE:-$HOME/.cache/meshloom}/venv-generate
lock=$here/requirements/generate.txt
if ! cmp -s "$lock" "$venv/.lock"; then
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock"
  cp "$lock" "$venv/.lock"
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
files="batch session process produce ingress node"
set --
for name in $files; do set -- "$@" "meshloom/v1/$name.proto"; done
"$venv/bin/python" -W ignore -m grpc_tools.protoc -I "$root/proto" --python_out="$out" --pyi_out="$out" "$@"
target=$here/src/meshloom/_pb
mkdir -p "$target"
echo '"""Generated from proto/meshloom/v1 by generate.sh; not to be edited."""' > "$target/__init__.py"
for name in $files; do
  for suffix in pb2.py pb2.pyi; do
    # Absolute imports become relative; the stubs' bare mappings and keyword arguments get types.
    sed -e 's/^from meshloom\.v1 import/from . import/' \
      -e '/^from typing import/s/import /import Any as _Any, /' \
      -e '/^from typing import/!s/_Mapping\([],]\)/_Mapping[str, _Any]\1/g' -e 's/\*\*kwargs)/**kwargs: _Any)/' "$out/meshloom/v1/${name}_$suffix" > "$target/${name}_$suffix"
  done
done
