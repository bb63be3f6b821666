#!/bin/sh
# Makes the reference, as HTML, in the folder that is named; a warning is an error.
set -eu
[ $# -eq 1 ] || { echo "usage: docs.sh FOLDER" >&2; exit 64; }
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"
python=$(./venv.sh)
"$python" -W error::UserWarning -m pdoc --docformat markdown --output-directory "$out" \
  meshloom meshloom.testing meshloom.reasons meshloom.attributes '!meshloom.batch' '!meshloom.config' '!meshloom.context' \
  '!meshloom.emitter' '!meshloom.event' '!meshloom.limits' '!meshloom.node' '!meshloom.output' '!meshloom.publisher' \
  '!meshloom.serve' '!meshloom.verdicts'
