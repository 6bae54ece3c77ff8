#!/usr/bin/env bash
# Build the container image with docker or podman.
#
# Usage: build_image.sh IMAGE
#
# From the environment:
#   ENGINE      docker or podman; by default the first of them that answers
#   BASE_IMAGE  instead of python:3.11-slim-trixie
#   IMAGE_PYTHON  the base image's interpreter, python3 by default
#   GPU         1 for the variant with the CUDA libraries
#   HTTPS_PROXY, ... and the settings of pip and uv (PIP_INDEX_URL, UV_DEFAULT_INDEX, SSL_CERT_FILE, ...,
#               and the index of `pip config`) serve the build and stay out of the image
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
image=$1
engine=$("$here/container_engine.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

options=(--tag "$image")
[ -z "${BASE_IMAGE:-}" ] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ -z "${IMAGE_PYTHON:-}" ] || options+=(--build-arg "PYTHON=$IMAGE_PYTHON")
[ "${GPU:-0}" != 1 ] || options+=(--build-arg LOCK=environment/requirements-gpu.lock)

index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
{
    [ -z "$index" ] || printf 'PIP_INDEX_URL=%q\nUV_DEFAULT_INDEX=%q\n' "$index" "$index"
    for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_HTTP_TIMEOUT; do
        [ -z "${!name:-}" ] || printf '%s=%q\n' "$name" "${!name}"
    done
} >"$work/package_settings"
options+=(--secret "id=package_settings,src=$work/package_settings")
certificates=${SSL_CERT_FILE:-${PIP_CERT:-}}
[ ! -r "$certificates" ] || options+=(--secret "id=ca_certificates,src=$certificates")

# With the host's network a mirror that only this machine reaches serves the build as well.
echo "Building $image with $engine"
DOCKER_BUILDKIT=1 "$engine" build --network host "${options[@]}" "$here/.."
