#!/bin/sh
# Builds the programs that tests use and that are not ours (Jaeger, grpcurl; versions in their go.mod) and prints their folder.
# Idempotent; the folder is ${MESHLOOM_CACHE:-$HOME/.cache/meshloom}/tools. Jaeger takes about two minutes the first time.
set -eu
cd "$(dirname "$0")"
tools=${MESHLOOM_CACHE:-$HOME/.cache/meshloom}/tools
mkdir -p "$tools"
build() { # NAME FOLDER PACKAGE
  # Built beside and renamed: who runs it meanwhile keeps the old one. A build of what is there already takes a second.
  # Each in a module of its own: Jaeger does not start with newer OpenTelemetry libraries than it was made for.
  (cd "$2" && go build -trimpath -o "$tools/.$1.$$" "$3")
  mv -f "$tools/.$1.$$" "$tools/$1"
}
stamp=$(cat */go.mod */go.sum install.sh && go version)
if [ "$stamp" != "$(cat "$tools/.stamp" 2>/dev/null)" ]; then
  build grpcurl grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl
  build jaeger-all-in-one jaeger github.com/jaegertracing/jaeger/cmd/all-in-one
  printf '%s\n' "$stamp" > "$tools/.stamp"
fi
echo "$tools"
