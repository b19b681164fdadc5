#!/bin/sh
# The one image that compose/offline.yaml builds everything from, made out of distribution packages alone:
#
#   sh compose/offline/make-base.sh [MIRROR]
#
# needs root, debootstrap and a Docker Engine, but no container registry. MIRROR is a Debian package mirror; without it
# debootstrap takes its own. BASE_IMAGE names the image, DOCKER the client.
set -eu

suite=trixie
image=${BASE_IMAGE:-ragkeep/base:$suite}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$work/root" "$@" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; exit 1; }
rm -rf "$work/root/var/cache/apt/archives" "$work"/root/var/lib/apt/lists/*
mkdir -p "$work/root/var/cache/apt/archives/partial"
tar -C "$work/root" -cf "$work/root.tar" .
"${DOCKER:-docker}" import --change 'CMD ["bash"]' "$work/root.tar" "$image" >/dev/null
