#!/usr/bin/env bash
# Build the image, compile the pipeline, and run the compiled file with kfp.local's DockerRunner.
#
# Usage: kubeflow_local.sh IMAGE CONFIG DATA VENV
#
# With docker, or with podman as root, for which a service is started on a socket of its own. Where the
# default base image cannot be pulled, one is made with debootstrap. EPOCHS shortens the training; ENGINE,
# BASE_IMAGE and the others are those of build_image.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
image=$1 config=$2 data=$3 bin=$4/bin
runs=runs/kubeflow-local
ENGINE=$("$here/container_engine.sh")
export ENGINE

if [ "$ENGINE" = podman ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "Expected docker, or podman as root: with rootless podman the containers' user owns no folder of yours." >&2
        exit 1
    fi
    # Podman stores a short name under localhost/, and kfp.local looks for the name as compiled.
    case "$image" in */*) ;; *) image=localhost/$image ;; esac
    export CONTAINERS_CONF=${CONTAINERS_CONF:-$here/containers.conf}
    sockets=$(mktemp -d)
    podman system service --time=0 "unix://$sockets/podman.sock" 2>"$sockets/log" &
    service=$!
    trap 'kill $service; rm -rf "$sockets"' EXIT
    export DOCKER_HOST=unix://$sockets/podman.sock
    for _ in $(seq 50); do [ -S "$sockets/podman.sock" ] && break || sleep 0.1; done
fi

default_base=python:3.11-slim-trixie
if [ -z "${BASE_IMAGE:-}" ] && ! "$ENGINE" image inspect "$default_base" >/dev/null 2>&1 &&
    ! timeout 300 "$ENGINE" pull --quiet "$default_base" >/dev/null 2>&1; then
    export BASE_IMAGE=localhost/dssm-base:trixie
    "$ENGINE" image inspect "$BASE_IMAGE" >/dev/null 2>&1 || "$here/base_image.sh" "$ENGINE" "$BASE_IMAGE"
fi
"$here/build_image.sh" "$image"

mkdir -p "$runs"
"$bin/dssm" compile --config "$config" --set "kubeflow.image=$image" --output "$runs/pipeline.yaml"
"$bin/python" "$here/kubeflow_local.py" "$runs/pipeline.yaml" --data "$data" --directory "$runs" \
    ${EPOCHS:+--parameter "epochs=$EPOCHS"}
"$bin/dssm" recommend --config "$config" --set "serving.directory=$runs/serving" --user "${USER_ID:-42}"
