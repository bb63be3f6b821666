#!/bin/sh
# Random faults in real processes, checked against the model; see src/main.rs for what SEED, FAULTS, ROUNDS, MINUTES and
# LANES mean. Builds what it needs as `make test` does, so that nothing is compiled twice.
set -eu
cd "$(dirname "$0")/../.."

cargo build --quiet --workspace --all-targets --locked
programs=${CARGO_TARGET_DIR:-$PWD/target}/debug
E2E_PROGRAMS=$programs exec "$programs/chaos"
