#!/bin/sh
# Measures hops through Meshloom against the same frames over bare gRPC streams, and typed JSON maps against plain loops, in
# four languages, and prints ratios.
# Builds what it needs in release profile, in a target folder of its own. Arguments go to meshloom-bench: --quick,
# --only rust-echo,go-map, --runs 5, --seconds 4. MESHLOOM_BENCH_TARGET names another target folder.
set -eu
cd "$(dirname "$0")/../.."

target=${MESHLOOM_BENCH_TARGET:-$PWD/target/bench}
cargo build --quiet --release --target-dir "$target" -p meshloom-cli -p meshloom-bench --bin meshloom --bin meshloom-bench
# rustc 1.95 dies in LLVM's SLP vectorizer when it links this program, so it does without.
cargo rustc --quiet --release --target-dir "$target" -p meshloom-bench --bin bench-rust -- -C no-vectorize-slp
(cd tests/bench/go && go build -o "$target/go/bench" .)
python=$(sdks/python/venv.sh)
sh sdks/node/ready.sh

exec "$target/release/meshloom-bench" \
  --meshloom "$target/release/meshloom" --rust "$target/release/bench-rust" --go "$target/go/bench" \
  --python "$python" --programs "$PWD/tests/bench" --json "$target/bench.json" "$@"
