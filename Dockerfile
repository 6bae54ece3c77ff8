# The image that every task of a compiled pipeline runs in; `make image` builds it.
# The base needs glibc 2.39 or newer, and a Python 3.11 to 3.13 with its venv module under the name PYTHON.
ARG BASE_IMAGE=python:3.11-slim-trixie

FROM ${BASE_IMAGE} AS environment
ARG PYTHON=python3
# environment/requirements-gpu.lock adds the CUDA libraries to the same versions.
ARG LOCK=environment/requirements.lock
COPY environment/tools.lock ${LOCK} /build/
# A package index of one's own and its certificates come in as secrets, so that no layer keeps them.
RUN --mount=type=secret,id=package_settings --mount=type=secret,id=ca_certificates set -eu; \
    if [ -r /run/secrets/package_settings ]; then set -a; . /run/secrets/package_settings; set +a; fi; \
    if [ -r /run/secrets/ca_certificates ]; then \
        export SSL_CERT_FILE=/run/secrets/ca_certificates PIP_CERT=/run/secrets/ca_certificates; fi; \
    "$PYTHON" -m venv /opt/tools; \
    /opt/tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        -r /build/tools.lock; \
    "$PYTHON" -m venv --without-pip /opt/dssm; \
    /opt/tools/bin/uv pip sync --quiet --no-cache --link-mode copy --compile-bytecode --require-hashes \
        --build-constraints "/build/${LOCK##*/}" --python /opt/dssm/bin/python "/build/${LOCK##*/}"

FROM ${BASE_IMAGE} AS wheel
WORKDIR /build/project
COPY setup.py pyproject.toml README.md LICENSE ./
COPY environment/requirements.in environment/
COPY schemas schemas
COPY trainer trainer
COPY components components
COPY pipeline pipeline
RUN --mount=type=bind,from=environment,source=/opt,target=/opt \
    /opt/tools/bin/uv build --quiet --no-cache --offline --wheel --no-build-isolation \
        --python /opt/dssm/bin/python --out-dir /build/wheel .

FROM ${BASE_IMAGE}
# Any user id may run it: the home folder and the places where KFP mounts object stores are open to all.
RUN mkdir -p /home/dssm /gcs /s3 /minio && chmod 1777 /home/dssm /gcs /s3 /minio && \
    echo 'dssm:x:10001:0:DSSM pipeline:/home/dssm:/bin/sh' >>/etc/passwd
ENV PATH=/opt/dssm/bin:${PATH} HOME=/home/dssm USER=dssm LOGNAME=dssm \
    PYTHONUNBUFFERED=1 NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=environment /opt/dssm /opt/dssm
# Copied, not mounted: podman 4.3 does not find a mount from a stage that it has just built.
COPY --from=wheel /build/wheel /opt/wheel
RUN --mount=type=bind,from=environment,source=/opt/tools,target=/opt/tools \
    /opt/tools/bin/uv pip install --quiet --no-cache --offline --no-deps --link-mode copy \
        --python /opt/dssm/bin/python /opt/wheel/*.whl && \
    cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
    python -m compileall -q schemas trainer components pipeline
WORKDIR /home/dssm
USER 10001:0
