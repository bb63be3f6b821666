#!/bin/sh
# mypy --strict and pyright strict over the examples and what users see of the package. pyright runs on Node.js.
set -eu
cd "$(dirname "$0")"
python=$(./venv.sh)
"$python" -m mypy
export PYRIGHT_PYTHON_IGNORE_WARNINGS=1
"$python" -m pyright --warnings
# It looks for the package in the environment of the `python` on the path.
PATH="$(dirname "$python"):$PATH" "$python" -m pyright --ignoreexternal --verifytypes meshloom
