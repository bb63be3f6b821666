#!/bin/sh
# Breaks the code, one change at a time, and shows the changes that no test notices. See README.md beside this file.
#   run.sh            settlement and checkpoints: one that is missed fails
#   PART=machine ...  dispatch, retry and ordering: those that are missed are listed
set -eu
cd "$(dirname "$0")/../.."
tools=${MESHLOOM_CACHE:-$HOME/.cache/meshloom}/tools
version=27.1.0
if [ "$("$tools/bin/cargo-mutants" mutants --version 2>/dev/null)" != "cargo-mutants $version" ]; then
  cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" "cargo-mutants@$version"
  rm -rf "$tools/build"
fi
output=$PWD/target/mutants
mkdir -p "$output"
mutants() { # NAME PACKAGE FILE...
  name=$1 package=$2
  shift 2
  for file; do
    set -- "$@" --file "$file"
    shift
  done
  echo "mutants of $name"
  # A test that a mutant holds up is ended.
  PROPTEST_CASES=${PROPTEST_CASES:-64} "$tools/bin/cargo-mutants" mutants --package "$package" "$@" \
    --output "$output/$name" --jobs "${JOBS:-2}" --minimum-test-timeout 30 --colors never --no-shuffle -- --lib || missed=1
}
# A change may make a loop endless, and what the loop fills too.
ulimit -v 6291456
# Each change is a build and a second of tests: what matters is the build.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0
missed=0
case ${PART:-settlement} in
  settlement)
    mutants settlement meshloom-core crates/core/src/origin.rs
    mutants checkpoints meshloom-coordinator \
      crates/coordinator/src/source/frames.rs crates/coordinator/src/source/marks.rs \
      crates/coordinator/src/source/receipts.rs \
      crates/coordinator/src/state/checkpoints.rs
    exit $missed
    ;;
  machine)
    mutants machine meshloom-core 'crates/core/src/machine/{dispatch,retry,order,lanes,turns}.rs'
    ;;
  *)
    echo "PART is settlement or machine" >&2
    exit 2
    ;;
esac
