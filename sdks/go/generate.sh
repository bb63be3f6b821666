#!/bin/sh
# Regenerates internal/pb from the repository's proto folder. Idempotent.
# BUF names the buf program (default: `buf` on PATH); the plugins are pinned in tools/go.mod.
set -eu
cd "$(dirname "$0")"
proto=../../proto

# The module prefix of go_package is cut off, so files land in internal/pb.
rm -rf internal/pb
"${BUF:-buf}" generate "$proto" --template buf.gen.yaml \
  --path "$proto/meshloom/v1/batch.proto" \
  --path "$proto/meshloom/v1/session.proto" \
  --path "$proto/meshloom/v1/process.proto" \
  --path "$proto/meshloom/v1/produce.proto" \
  --path "$proto/meshloom/v1/node.proto"
