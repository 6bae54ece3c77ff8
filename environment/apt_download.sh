#!/usr/bin/env bash
# Download packages of a Debian or Ubuntu suite and unpack them into a folder, installing nothing.
#
# Usage: apt_download.sh SUITE FOLDER PACKAGE [PACKAGE ...]
#
# Runs apt as an unprivileged client with its own lists, cache and an empty package status, so
# that the system's packages are neither read nor changed. The mirror is the one that this
# machine's own sources name; only the suite differs. Packages are verified with the
# distribution's archive keyring.
set -euo pipefail

suite=$1 folder=$2
shift 2

fail() {
    echo "$1" >&2
    exit 1
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "it has no apt-get and dpkg-deb"
# shellcheck disable=SC1091
. /etc/os-release
keyring="/usr/share/keyrings/$ID-archive-keyring.gpg"
[ -r "$keyring" ] || fail "the archive keyring $keyring is missing"
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
    awk -v release="$VERSION_CODENAME" '$1 == "Packages" && $2 == release && $3 == "main" { print $4; exit }')
[ -n "$mirror" ] || fail "apt has no source for $VERSION_CODENAME main"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,empty,packages} "$folder"
: >"$work/status"
echo "deb [signed-by=$keyring] $mirror $suite main universe" >"$work/sources.list"
[ "$ID" = ubuntu ] || sed -i 's/ universe$//' "$work/sources.list"
apt_options=(
    -qq
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/empty"
    -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status"
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=""
)
apt-get "${apt_options[@]}" update || fail "apt cannot read $suite from $mirror"
(cd "$work/packages" && apt-get "${apt_options[@]}" download "$@") || fail "apt cannot download $* of $suite"
for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$folder"; done
