#!/bin/sh
# Write the lock of each image anew, with the versions that requirements/runtime.txt has:
#
#   sh requirements/images/compile.sh
set -eu
cd "$(dirname "$0")"
for wanted in *.in; do
    ../../.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --constraint ../runtime.txt "$wanted" --output-file "${wanted%.in}.txt"
done
