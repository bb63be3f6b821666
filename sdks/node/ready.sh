#!/bin/sh
# Installs and builds this package unless that has been done, then installs the packages named, which use it.
# Safe to run from several processes at once: sh ready.sh [FOLDER ...]
exec "${PYTHON:-python3}" "$(dirname "$0")/scripts/ready.py" "$@"
