#!/usr/bin/env bash
# Packs the files of one batch, in the folder it is started in, into ARCHIVE_DIR/NAME.tar.gz: bash archive.sh NAME
# The name of a batch is made from its events, so a batch that comes again replaces its archive and adds nothing.
set -euo pipefail

name=$1
folder=${ARCHIVE_DIR:-$(dirname "$0")/out/archive}
archive=$folder/$name.tar.gz

mkdir -p "$folder"
tar -czf "$archive.new" raw.ndjson filtered.ndjson classified.ndjson
# Exit 0 says that the batch is safe, so it has to be on the disk by then; renamed, so that no one sees half of it.
sync "$archive.new"
mv -f "$archive.new" "$archive"
sync "$folder"
