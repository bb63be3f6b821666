#!/bin/sh
# Regenerates internal/pb from the repository's proto folder. Idempotent.
# BUF names the buf program (default: `buf` on PATH); the plugins are pinned in tools/go.mod.
set -eu
cd "$(dirname "$0")"
proto=../../proto
buf=${BUF:-buf}
if ! command -v "$buf" >/dev/null; then
  echo "generate.sh: '$buf' is no program: install buf (https://buf.build/docs/installation) or set BUF to it" >&2
  exit 69
fi

# The module prefix of go_package is cut off, so files land in internal/pb.
rm -rf internal/pb
"$buf" generate "$proto" --template buf.gen.yaml \
  --path "$proto/meshloom/v1/batch.proto" \
  --path "$proto/meshloom/v1/session.proto" \
  --path "$proto/meshloom/v1/process.proto" \
  --path "$proto/meshloom/v1/produce.proto" \
  --path "$proto/meshloom/v1/ingress.proto" \
  --path "$proto/meshloom/v1/node.proto"
