#!/usr/bin/env bash
# Print the container engine to use: $ENGINE, or else the first of docker and podman that answers.
set -euo pipefail

tried=()
for engine in ${ENGINE:-docker podman}; do
    if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then
        echo "$engine"
        exit 0
    fi
    tried+=("$engine")
done
echo "No container engine answers (tried '<engine> info' of: ${tried[*]}). Start docker, install podman, or name one: make ENGINE=podman ..." >&2
exit 1
