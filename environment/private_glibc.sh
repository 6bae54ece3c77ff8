#!/usr/bin/env bash
# Give one virtual environment a newer glibc of its own, leaving the system's untouched.
#
# Usage: private_glibc.sh VENV PATCHELF
#
# Why: ml-metadata, tensorflow-data-validation and tfx-bsl publish wheels for glibc 2.39 and
# newer. Debian 12 has 2.36 and Ubuntu 22.04 has 2.35, so pip and uv find no wheel there.
#
# How, in three steps:
#   1. Download libc6, libstdc++6 and libgcc-s1 of the distribution's next release and unpack
#      them into VENV/private-glibc (apt_download.sh), with libgomp1, which `implicit` needs and
#      a bare system lacks. Nothing is installed.
#   2. Patch VENV/bin/python, which must be a copy (venv --copies): its loader becomes the
#      private one, its library path the private folders and then python's own.
#   3. Add libstdc++ and libgcc_s as its direct needs, or else TensorFlow loads the system's
#      libstdc++ first and ml-metadata misses the symbol version CXXABI_1.3.15 in it.
# Every program that this python starts by name (sh, git, ...) keeps the system's libraries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$1" && pwd)
patchelf=$2
private="$venv/private-glibc"
python="$venv/bin/python"

give_up() {
    echo "This machine's glibc is older than 2.39 and cannot be given a private one ($1):" \
        "work in the container image python:3.11-slim-trixie instead (docs/installation.md)." >&2
    exit 1
}

ID=unknown
# shellcheck disable=SC1091
[ -r /etc/os-release ] && . /etc/os-release
case "$ID" in
    debian) next_suite=trixie ;;
    ubuntu) next_suite=noble ;;
    *) give_up "'$ID' is neither debian nor ubuntu" ;;
esac

rm -rf "$private"
reason=$("$here/apt_download.sh" "$next_suite" "$private" libc6 libstdc++6 libgcc-s1 libgomp1 2>&1) || give_up "${reason##*$'\n'}"

loader=$(find "$private" -name 'ld-linux*.so.*' | head -n 1)
libc=$(find "$private" -name 'libc.so.6' | head -n 1)
libstdcxx=$(find "$private" -name 'libstdc++.so.6' | head -n 1)
[ -n "$loader" ] && [ -n "$libc" ] && [ -n "$libstdcxx" ] || give_up "the packages of $next_suite lack a loader, a libc or a libstdc++"
# libc6 may lie in /lib and libstdc++6 in /usr/lib: the search path names both. Python's own folder comes
# last, since for a distribution's python it is the one that holds the system's libc.
library_path="$(dirname "$libc"):$(dirname "$libstdcxx"):$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"

"$patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$library_path" \
    --add-needed libstdc++.so.6 --add-needed libgcc_s.so.1 "$python"
"$python" -c 'import os; print("The environment has its own", os.confstr("CS_GNU_LIBC_VERSION"))' ||
    give_up "the patched python does not start"
