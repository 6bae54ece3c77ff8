"""A real S3 server on loopback, and what an ingest wrote."""

import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from schemas.features import FeatureSpec


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Return the URL of a server without buckets."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let this process reach the server, whatever the user's own settings are."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    return monkeypatch


class Bucket:
    """A bucket as another program sees it."""

    def __init__(self, endpoint: str) -> None:
        self.name = f"b-{uuid.uuid4().hex}"
        self.uri = f"s3://{self.name}"
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="something",
        )
        self._client.create_bucket(Bucket=self.name)

    def keep_versions(self) -> None:
        """From now on, remember what is deleted."""
        self._client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def keys_ever(self, prefix: str) -> set[str]:
        """Every object that is there or was, in a bucket that keeps versions."""
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix)
        return {entry["Key"] for page in pages for entry in page.get("Versions", [])}

    def keys(self, prefix: str = "") -> list[str]:
        """Every object but the empty entries for folders."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return sorted(key for key in keys if not key.endswith("/"))

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def write(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=content)


@pytest.fixture(scope="module")
def module_bucket(endpoint: str) -> Bucket:
    """Return a bucket that a module's tests share, and that keeps versions."""
    bucket = Bucket(endpoint)
    bucket.keep_versions()
    return bucket


@pytest.fixture
def bucket(endpoint: str, environment: pytest.MonkeyPatch) -> Bucket:
    """Return an empty bucket that this process reaches."""
    return Bucket(endpoint)


@pytest.fixture(scope="session")
def read_rows() -> Callable[..., list[dict[str, Any]]]:
    """Read sequences back as rows with histories, in the order (user, time)."""

    def read(folder: Path, spec: FeatureSpec, split: str, length: int = 2) -> list[dict[str, Any]]:
        item, timestamp = spec.item_id.name, spec.timestamp
        of_positions = {item, timestamp, "weight", *(f.name for f in spec.table_features("context"))}
        rows = []
        for path in sorted(folder.glob("*.parquet")):
            for user in pq.read_table(path).to_pylist():
                ends = [0, *(user.pop(f"{name}_end") for name in ("train", "validation", "eval"))]
                place = ["train", "validation", "eval"].index(split)
                for position in range(ends[place], ends[place + 1]):
                    row = {
                        name: value[position] if name in of_positions else value
                        for name, value in user.items()
                    }
                    before = [""] * length + user[item][:position]
                    rows.append({**row, "history": before[len(before) - length :]})
        # A stable sort: rows of one second stay in the order of the sequence.
        return sorted(rows, key=lambda row: (row[spec.user_id.name], row[timestamp]))

    return read
