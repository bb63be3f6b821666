#!/bin/sh
# Makes .venv (the project's virtual environment) and model/ (trained on ../data). Idempotent, quick when all is there.
set -eu
cd "$(dirname "$0")"
python=$(../../../sdks/python/venv.sh)
venv=$(dirname "$(dirname "$python")")
[ "$(readlink .venv || true)" = "$venv" ] || { rm -rf .venv && ln -s "$venv" .venv; }

# Which code and data the model was made from stands beside it.
made_from=$(cat train.py features.py readings.py ../data/readings.txt ../../../sdks/python/requirements/dev.txt | cksum)
if [ "$made_from" != "$(cat model/.made-from 2>/dev/null)" ]; then
  "$python" train.py ../data/readings.txt model
  printf '%s\n' "$made_from" > model/.made-from
fi
