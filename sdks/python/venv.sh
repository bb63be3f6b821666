#!/bin/sh
# Makes (or brings up to date) the virtual environment for tests, lint and examples, and prints the path of its python.
# The environment is .venv beside this script, since it holds this checkout's package; PYTHON chooses the interpreter (3.10 or newer).
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/scripts/environment.py"
