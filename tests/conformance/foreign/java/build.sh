#!/bin/sh
# Builds the node once for each state of its sources, in the cache; the last line printed is the command that runs it.
set -eu

cd "$(dirname -- "$0")"
proto=../../../../proto

javac=${JAVA_HOME:+$JAVA_HOME/bin/}javac
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version=$("$javac" -version 2>&1 | sed -n 's/^javac \([0-9][0-9]*\).*/\1/p') || version=
if [ "${version:-0}" -lt 17 ] || ! command -v mvn >/dev/null 2>&1; then
    packages="openjdk-17-jdk-headless maven"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "foreign/java is built with a JDK of version 17 or later and Maven 3.8.2 or later: apt-get install $packages" >&2
        exit 69
    fi
    # shellcheck disable=SC2086 # Words, each a package.
    { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends $packages; } >&2
fi

hash=$(find pom.xml build.sh src "$proto/meshloom" -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -c 1-16)
cache=${MESHLOOM_CACHE:-$HOME/.cache/meshloom}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
built=$cache/foreign-java-$hash

if [ ! -f "$built/interpreter.jar" ]; then
    # Apart, then moved: a build that was broken off, or runs beside another, leaves nothing half made.
    building=$(mktemp -d "$cache/foreign-java-building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    mvn --batch-mode --quiet "-Dmeshloom.target=$building/target" package >&2
    mkdir "$building/node"
    mv "$building/target/interpreter.jar" "$building/target/lib" "$building/node"
    [ -d "$built" ] || mv "$building/node" "$built"
fi

echo "$java -jar $built/interpreter.jar"
