#!/bin/sh
# The kit at level full against the four SDKs with many random cases. SEED=n for the same again, CASES=n for more or fewer.
set -eu
cd "$(dirname "$0")/../.."
export SEED="${SEED:-$(date +%s)}" CASES="${CASES:-500}"
echo "SEED=$SEED CASES=$CASES"
exec cargo test --workspace --locked --test conformance -- the_sdks_keep_every_rule
