#!/usr/bin/env bash
# Make a base image without any registry: the Debian suite that the default base has, by debootstrap.
#
# Usage: base_image.sh ENGINE IMAGE
#
# Needs root and debootstrap. Packages come from the mirror in this machine's own apt sources.
set -euo pipefail

engine=$1 image=$2
fail() {
    echo "No base image: the registry of python:3.11-slim-trixie cannot be reached, and none can be made here ($1)." \
        "Name one that is on this machine, with glibc 2.39 or newer and a Python 3.11 to 3.13: make BASE_IMAGE=... " >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "that takes root"
command -v debootstrap >/dev/null || fail "debootstrap is not installed"
# shellcheck disable=SC1091
. /etc/os-release
[ "$ID" = debian ] || fail "'$ID' is not debian"
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
    awk -v release="$VERSION_CODENAME" '$1 == "Packages" && $2 == release && $3 == "main" { print $4; exit }')
[ -n "$mirror" ] || fail "apt has no source for $VERSION_CODENAME main"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Making $image with debootstrap"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie "$work/tree" "$mirror" >"$work/log" 2>&1 ||
    fail "debootstrap: $(grep '^E:' "$work/log" | tail -n 1)"
rm -rf "$work"/tree/var/cache/apt/archives/*.deb "$work"/tree/var/lib/apt/lists/*
tar -C "$work/tree" -c . | "$engine" import - "$image" >/dev/null
