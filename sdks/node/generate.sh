#!/bin/sh
# Generates src/gen from the repository's proto folder. BUF names the buf binary (default: this package's own).
set -eu
cd "$(dirname "$0")"
[ -d node_modules ] || npm ci
BUF=${BUF:-npx --no-install buf}
$BUF generate
$BUF build ../../proto --path ../../proto/meshloom/v1/node.proto --exclude-source-info -o src/gen/node.binpb
$BUF build node_modules/grpc-health-check/proto --exclude-source-info -o src/gen/health.binpb
# Two FileDescriptorSets end to end are one.
cat src/gen/health.binpb >> src/gen/node.binpb
node scripts/embed-descriptor.mjs src/gen/node.binpb src/gen/descriptor.ts
rm src/gen/node.binpb src/gen/health.binpb
