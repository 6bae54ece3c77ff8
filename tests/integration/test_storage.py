"""Data from, and releases to, a real S3 server on loopback."""

import datetime
import gzip
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from components.tower_pusher import object_store
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import (
    check_writable,
    push_if_blessed,
    push_release,
)
from schemas import storage
from schemas.checkpoints import delete_checkpoints
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DataError, ReleaseError, StorageError
from schemas.release import copy_state, find_current_release, read_current_release, read_release

pytestmark = pytest.mark.integration


def locate_inputs(base: Path) -> PushInputs:
    """Name the folders that `write_inputs` writes."""
    parts = ("schema", "transform", "statistics")
    user, item = (TableInputs(*(base / table / part for part in parts)) for table in ("user", "item"))
    return PushInputs(
        base / "model", base / "index", base / "report", base / "ingest_report", user=user, item=item
    )


def write_inputs(base: Path, model_id: str) -> PushInputs:
    """Fake folders in which every file names the training that it comes from."""
    parts = {
        base / "model" / "user_tower" / "assets.extra" / "dssm_part.json": {"part": "user_tower"},
        base / "model" / "item_tower" / "assets.extra" / "dssm_part.json": {"part": "item_tower"},
        base / "model" / "model.json": {"dim": 2, "temperature": 0.1, "warm_start": None},
        base / "model" / "state" / "training_state.json": {},
        base / "index" / "dssm_part.json": {"part": "index", "dim": 2, "items": 3},
        base / "report" / "evaluation_report.json": {
            "metrics": {"recall_at_10": 0.5},
            "popularity": {},
            "trained_on": {"until": 90, "log_until": 100, "splits": [{"kind": "latest_per_user"}]},
        },
        base / "ingest_report" / "ingest_report.json": {"sequence_figures": {}, "day_fingerprints": {}},
    }
    for file, content in parts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content | {"model_id": model_id}))
    (base / "report" / "per_user_metrics.parquet").write_text(model_id)
    for folder in ("model/user_tower", "model/item_tower", "index"):
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / "marker.txt").write_text(model_id)
    (base / "model" / "user_tower" / "assets").mkdir(exist_ok=True)
    (base / "model" / "user_tower" / "empty").write_bytes(b"")
    for table in ("user", "item"):
        for folder in ("schema", "transform/transform_fn"):
            (base / table / folder).mkdir(parents=True, exist_ok=True)
            (base / table / folder / "marker.txt").write_text(model_id)
        (base / table / "statistics" / "Split-all").mkdir(parents=True, exist_ok=True)
        (base / table / "statistics" / "Split-all" / "FeatureStats.pb").write_text(model_id)
    return locate_inputs(base)


def bless(folder: Path) -> Path:
    folder.mkdir()
    (folder / "BLESSED").write_text("1")
    return folder


def check_whole(serving: str, version: int) -> None:
    """Read the copies of all parts, without trusting what the code under test checks itself."""
    release = read_release(serving, version)
    folders = (release.user_tower, release.item_tower, release.index)
    assert {(folder / "marker.txt").read_text() for folder in folders} == {release.manifest.model_id}
    assert {folder.name for folder in folders} == {str(version)}


def test_files_go_out_and_come_back_as_they_are(bucket: Any, tmp_path: Path) -> None:
    folder = f"{bucket.uri}/a b/50%25"
    storage.write_bytes(f"{folder}/x.gz", b"123")
    storage.write_bytes(f"{folder}/x.gz", b"12")
    assert bucket.read("a b/50%25/x.gz") == b"12"
    assert storage.read_bytes(f"{folder}/x.gz") == b"12"
    assert storage.open_stream(f"{folder}/x.gz").read() == b"12"
    assert storage.open_input(f"{folder}/x.gz").read_at(1, 1) == b"2"

    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "big").write_bytes(bytes(11_000_000))
    (tree / "empty").write_bytes(b"")
    storage.copy_tree(tree, f"{folder}/tree")
    assert bucket.keys() == ["a b/50%25/tree/empty", "a b/50%25/tree/sub/big", "a b/50%25/x.gz"]
    assert {name: s.size_bytes for name, s in storage.list_files(folder).items()} == {
        "tree/empty": 0, "tree/sub/big": 11_000_000, "x.gz": 2,
    }  # fmt: skip
    assert storage.list_names(folder) == ["tree", "x.gz"]
    assert storage.find_file(f"{folder}/tree") is None
    age = datetime.datetime.now(datetime.UTC) - storage.list_files(folder)["x.gz"].modified
    assert abs(age) < datetime.timedelta(minutes=5)

    storage.copy_tree(f"{folder}/tree", tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "big").read_bytes() == bytes(11_000_000)
    assert (tmp_path / "back" / "empty").read_bytes() == b""

    storage.delete_file(f"{folder}/x.gz")
    storage.delete_tree(f"{folder}/tree")
    storage.delete_tree(f"{folder}/tree")
    assert bucket.keys() == []
    assert storage.list_files(folder) == {}
    assert storage.list_names(f"{bucket.uri}/never") == []
    with pytest.raises(storage.NotFoundError, match=r"Cannot read s3://.*/x\.gz"):
        storage.read_bytes(f"{folder}/x.gz")


@pytest.mark.parametrize("is_remote", [False, True])
def test_what_breaks_off_is_not_left_as_if_it_were_whole(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_remote: bool
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "broken").write_bytes(b"whole")

    def break_off(read: Any, written: Any, length: int) -> None:
        written.write(read.read(2))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "copyfileobj", break_off)
    target = f"{bucket.uri}/tree" if is_remote else tmp_path / "target"
    with pytest.raises(StorageError, match="Input/output error"):
        storage.copy_tree(tmp_path / "source", target)
    assert storage.list_files(target) == {}


COPY_THERE_AND_BACK = """
import sys
from schemas import storage
source, remote, back = sys.argv[1:]
storage.copy_tree(source, remote)
storage.copy_tree(remote, back)
"""


def test_more_files_than_copies_at_once(bucket: Any, tmp_path: Path) -> None:
    """In a process of its own, since copies that wait for each other in pyarrow never end."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02}").write_text(f"file {number}")
    command = [sys.executable, "-c", COPY_THERE_AND_BACK, str(source), f"{bucket.uri}/tree", str(back)]
    subprocess.run(command, timeout=60, check=True)
    assert bucket.keys() == [f"tree/{number:02}" for number in range(40)]
    assert [file.read_text() for file in sorted(back.iterdir())] == [f"file {n}" for n in range(40)]


def test_a_missing_bucket_is_named(environment: pytest.MonkeyPatch, endpoint: str, tmp_path: Path) -> None:
    match = rf"There is no bucket 'no-such-bucket' at {endpoint}: create it"
    with pytest.raises(StorageError, match=match):
        storage.list_files("s3://no-such-bucket/a")
    with pytest.raises(StorageError, match=match):
        storage.list_names("s3://no-such-bucket")
    with pytest.raises(StorageError, match=match):
        storage.write_bytes("s3://no-such-bucket/a", b"")
    with pytest.raises(StorageError, match=match):
        check_writable("s3://no-such-bucket/a")
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(StorageError, match=match):
        storage.copy_tree(tmp_path, "s3://no-such-bucket/a")


def test_refused_credentials_are_named(bucket: Any, environment: pytest.MonkeyPatch, endpoint: str) -> None:
    storage.write_bytes(f"{bucket.uri}/a", b"1")
    requests.post(f"{endpoint}/moto-api/reset-auth", data="0", timeout=10)
    try:
        for use in (storage.read_bytes, storage.list_files, storage.find_file, check_writable):
            with pytest.raises(StorageError, match="refused it: check AWS_ACCESS_KEY_ID and AWS_SECRET"):
                use(f"{bucket.uri}/a")
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data="inf", timeout=10)


def test_missing_credentials_are_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    with RefusingServer() as address:
        environment.setenv("AWS_ENDPOINT_URL_S3", address)
        with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID is not set; set it with AWS_SECRET"):
            storage.list_files("s3://bucket/a")


KEY = "0123456789abcdef0123456789abcdef"


def test_checkpoints_in_a_store_are_deleted(bucket: Any, caplog: pytest.LogCaptureFixture) -> None:
    files = [f"checkpoints/{key}/fit-000000000001/complete.json" for key in (KEY, KEY[::-1])]
    for file in files:
        bucket.write(file, b"{}")
    with caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        for _ in range(2):
            delete_checkpoints(f"{bucket.uri}/checkpoints/{KEY}")
    assert bucket.keys() == files[1:]
    assert caplog.messages == []


def test_checkpoints_in_a_store_that_refuses_are_a_warning(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = f"s3://bucket/checkpoints/{KEY}"
    with RefusingServer() as address, caplog.at_level(logging.WARNING, logger=PROGRESS_LOGGER):
        environment.setenv("AWS_ENDPOINT_URL_S3", address)
        delete_checkpoints(folder)
    [message] = caplog.messages
    assert message.startswith("The checkpoints of a training that has ended cannot be deleted: Cannot delete")
    assert f"{address} refused it: check AWS_ACCESS_KEY_ID" in message
    assert message.endswith(f"if {folder} is still there, delete it by hand.")


class RefusingServer:
    """Answers every request with 403, as S3 answers one without a signature."""

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)


def test_a_server_that_does_not_answer_is_given_up(environment: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment.setenv("AWS_ENDPOINT_URL_S3", address)
        environment.setattr(storage, "_SILENCE_TIMEOUT_SECONDS", 1.0)
        start = time.monotonic()
        with pytest.raises(StorageError, match=rf"{address} cannot be reached: AWS_ENDPOINT_URL_S3 says"):
            storage.read_bytes("s3://bucket/a")
        assert time.monotonic() - start < 15
    start = time.monotonic()
    with pytest.raises(StorageError, match=rf"{address} cannot be reached"):
        check_writable("s3://bucket/a")
    assert time.monotonic() - start < 15


def test_a_release_is_pushed_found_and_copied_once(bucket: Any, tmp_path: Path) -> None:
    serving = f"{bucket.uri}/serving"
    check_writable(serving)
    assert bucket.keys() == []
    with pytest.raises(ReleaseError, match=rf"No release in {serving}: expected releases/<version>/man"):
        read_current_release(serving)

    first = push_release(write_inputs(tmp_path / "a", "a"), serving, run_id="run-1")
    assert (first.version, first.location) == (1, f"{serving}/releases/1")
    assert bucket.keys("serving/releases") == ["serving/releases/1/manifest.json"]
    assert json.loads(bucket.read("serving/releases/1/manifest.json"))["run_id"] == "run-1"
    assert bucket.keys("serving/user_tower") == [
        "serving/user_tower/1/assets.extra/dssm_part.json",
        "serving/user_tower/1/empty",
        "serving/user_tower/1/marker.txt",
    ]
    assert bucket.read("serving/index/1/marker.txt") == b"a"

    second = push_release(write_inputs(tmp_path / "b", "b"), f"{serving}/", run_id="run-2")
    assert second.version == 2
    assert find_current_release(serving) == second
    check_whole(serving, 1)
    check_whole(serving, 2)
    with pytest.raises(ReleaseError, match=r"No release 3 in s3://.*: its releases are 1, 2\."):
        read_release(serving, 3)

    cache = tmp_path / "cache"
    assert read_release(serving, 1, cache).manifest.model_id == "a"
    release = read_current_release(serving, cache)
    assert [file.read_text() for file in cache.rglob("user_tower/*/marker.txt")] == ["b"]
    copied = (release.index / "marker.txt").stat()
    assert (read_current_release(serving, cache).index / "marker.txt").stat() == copied
    for damage in ("!", "a file of another size"):
        (release.index / "marker.txt").write_text(damage)
        assert (read_current_release(serving, cache).index / "marker.txt").read_text() == "b"

    storage.delete_file(f"{serving}/index/2/marker.txt")
    with pytest.raises(ReleaseError, match=r"Release 2 in s3://.* is incomplete: .*marker\.txt is missing"):
        read_current_release(serving, cache)


def test_the_state_is_copied_for_the_next_training_alone(bucket: Any, tmp_path: Path) -> None:
    serving = f"{bucket.uri}/serving"
    for model_id in ("a", "b"):
        push_release(write_inputs(tmp_path / model_id, model_id), serving, run_id="r")

    read_current_release(serving, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("state"))

    released = copy_state(serving, 2, tmp_path / "state")
    assert (released.version, released.location) == (2, f"{serving}/state/2")
    assert json.loads((tmp_path / "state" / "training_state.json").read_text())["model_id"] == "b"
    storage.write_bytes(f"{serving}/state/2/training_state.json", b"{}")
    with pytest.raises(ReleaseError, match=r"training_state\.json has 2 bytes instead of"):
        copy_state(serving, 2, tmp_path / "again")


def test_the_same_model_is_pushed_once(bucket: Any, tmp_path: Path) -> None:
    serving, blessing = f"{bucket.uri}/serving", bless(tmp_path / "blessing")
    inputs = write_inputs(tmp_path / "a", "a")
    results = []
    for attempt in range(2):
        assert push_if_blessed(inputs, blessing, serving, f"run-{attempt}", tmp_path / "out") is not None
        results.append(json.loads((tmp_path / "out" / "push.json").read_text()))
    assert results == [{"pushed": 1, "version": 1, "release": f"{serving}/releases/1"}] * 2
    assert find_current_release(serving).manifest.run_id == "run-0"

    storage.delete_file(f"{serving}/index/1/marker.txt")
    assert push_if_blessed(inputs, blessing, serving, "run-2", tmp_path / "out").version == 2
    (inputs.index / "marker.txt").write_text("A")
    assert push_if_blessed(inputs, blessing, serving, "run-3", tmp_path / "out").version == 3


def test_a_failed_push_takes_back_what_it_uploaded(
    bucket: Any, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    serving = f"{bucket.uri}/serving"
    push_release(write_inputs(tmp_path / "a", "a"), serving, run_id="first")
    before = bucket.keys()
    real = storage.copy_files

    def fail(files: Any, target: Any) -> None:
        real(files, target)
        if "user_tower" in str(target):
            raise StorageError("no space")

    environment.setattr(storage, "copy_files", fail)
    with pytest.raises(StorageError, match="no space"):
        push_release(write_inputs(tmp_path / "b", "b"), serving, run_id="second")
    assert bucket.keys() == before

    def lose(files: Any, target: Any) -> None:
        real({name: file for name, file in files.items() if name != "marker.txt"}, target)

    environment.setattr(storage, "copy_files", lose)
    with pytest.raises(ReleaseError, match=r"index/\d+: expected the 2 files .* Received: 1, .*marker\.txt"):
        push_release(write_inputs(tmp_path / "b", "b"), serving, run_id="third")
    assert bucket.keys() == before


def test_what_was_uploaded_is_checked_before_it_is_a_release(bucket: Any, tmp_path: Path) -> None:
    serving = f"{bucket.uri}/serving"
    inputs = write_inputs(tmp_path / "a", "a")
    copies: list[Path] = []

    def look(parts: Mapping[str, Path]) -> None:
        assert set(parts) == {"index", "item_tower", "user_tower"}
        assert {(folder / "marker.txt").read_text() for folder in parts.values()} == {"a"}
        assert bucket.keys("serving/releases/2/manifest.json") == []
        copies.extend(parts.values())

    def refuse(parts: Mapping[str, Path]) -> None:
        raise ReleaseError("skewed")

    with pytest.raises(ReleaseError, match="skewed"):
        push_release(inputs, serving, run_id="r", check_parts=refuse)
    assert bucket.keys() == []
    assert push_release(inputs, serving, run_id="r", check_parts=look).version == 1
    assert len(copies) == 3
    assert not any(copy.exists() for copy in copies)


def test_a_pusher_taken_for_dead_does_not_commit(
    bucket: Any, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    serving = f"{bucket.uri}/serving"
    inputs = write_inputs(tmp_path / "a", "a")
    real = object_store.Claim.commit

    def commit_late(claim: object_store.Claim, manifest: bytes) -> None:
        environment.setattr(object_store.Claim, "commit", real)
        environment.setattr(object_store, "_ABANDONED_AFTER", datetime.timedelta(seconds=-1))
        assert push_release(inputs, serving, run_id="other").version == 2
        assert bucket.keys("serving/index/1") == []
        claim.commit(manifest)

    environment.setattr(object_store.Claim, "commit", commit_late)
    with pytest.raises(ReleaseError, match=r"\.claim-\w+ was removed while release 1 was uploaded"):
        push_release(inputs, serving, run_id="slow")
    assert bucket.keys("serving/releases") == ["serving/releases/2/manifest.json"]


def test_of_two_claims_on_a_version_none_wins(
    bucket: Any, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    serving = f"{bucket.uri}/serving"
    real = storage.write_bytes

    def another_one_at_the_same_time(location: str, content: bytes) -> None:
        real(location, content)
        if "/releases/1/.claim-" in location:
            real(f"{serving}/releases/1/.claim-other", b"")

    environment.setattr(storage, "write_bytes", another_one_at_the_same_time)
    environment.setattr(object_store.time, "sleep", lambda seconds: None)
    assert push_release(write_inputs(tmp_path / "a", "a"), serving, run_id="r").version == 2
    assert bucket.keys("serving/releases/1") == ["serving/releases/1/.claim-other"]


def test_pushers_at_the_same_time_get_different_versions(bucket: Any, tmp_path: Path) -> None:
    serving = f"{bucket.uri}/serving"
    versions: list[int] = []

    def push(name: str) -> None:
        inputs = write_inputs(tmp_path / name, name)
        versions.extend(push_release(inputs, serving, run_id=name).version for _ in range(2))

    threads = [threading.Thread(target=push, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(versions) == len(set(versions)) == 6
    for version in versions:
        check_whole(serving, version)


SPEC = {
    "name": "shop",
    "tables": {"items": {"file": "items.parquet"}},
    "features": [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
        {
            "name": "item",
            "dtype": "string",
            "tower": "item",
            "role": "item_id",
            "encoding": {"kind": "vocabulary"},
        },
    ],
}
# 2026-11-22T00:00:00Z is 1,795,305,600.
OUTPUTS = ("sequences", "users", "items", "catalogue", "report")
DAY = 86_400
LOG = [(f"u{n % 7}", f"i{n % 5}", 1_795_305_600 - n // 10 * DAY) for n in range(60)]


def write_tables(folder: Path) -> None:
    user, item, at = zip(*LOG, strict=True)
    folder.mkdir()
    log = pa.table({"user": user, "item": item, "timestamp": at})
    pq.write_table(log, folder / "interactions.parquet", row_group_size=25)
    pq.write_table(
        pa.table({"user": [f"u{n}" for n in range(7)], "age": range(20, 27)}), folder / "users.parquet"
    )
    pq.write_table(pa.table({"item": [f"i{n}" for n in range(5)]}), folder / "items.parquet")


def read_records(file: Path) -> list[bytes]:
    import tensorflow as tf

    if file.suffix == ".parquet":
        return [file.read_bytes()]
    # An example's features are serialised in any order.
    records = tf.data.TFRecordDataset(str(file), compression_type="GZIP")
    return [
        tf.train.Example.FromString(record.numpy()).SerializeToString(deterministic=True)
        for record in records
    ]


def test_ingest_reads_from_the_store_what_it_reads_from_disk(bucket: Any, tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.interaction_ingest.config import IngestConfig, WindowConfig
    from components.interaction_ingest.outputs import IngestOutputs
    from components.interaction_ingest.run import run_ingest
    from schemas.features import FeatureSpec
    from schemas.strict_config import parse

    write_tables(tmp_path / "data")
    storage.copy_tree(tmp_path / "data", f"{bucket.uri}/data")
    spec = parse(FeatureSpec, SPEC, source="test")
    options = PipelineOptions(["--runner=FnApiRunner"])
    found, fingerprints = [], []
    for name, source in (("disk", str(tmp_path / "data")), ("store", f"{bucket.uri}/data")):
        report = run_ingest(
            lambda: beam.Pipeline(options=options),
            spec,
            IngestConfig(),
            source,
            IngestOutputs(**{output: tmp_path / name / output for output in OUTPUTS}),
            window=WindowConfig(last_days=3),
        )
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.suffix in (".gz", ".parquet"))
        assert len(files) == 4
        # In a store files count by their size and the time of their upload.
        days = report.pop("day_fingerprints")
        fingerprints.append(report.pop("input_fingerprint"))
        assert [len(of_table) for of_table in days.values()] == [1, 1, 1]
        found.append((report, [read_records(file) for file in files]))
    assert found[0] == found[1]
    report = found[0][0]
    assert (report["window_from"], report["window_to"]) == ("2026-11-20", "2026-11-22")
    assert (report["rows_kept"], report["dropped"]) == (30, {"outside_window": 30})
    assert [len(fingerprint) for fingerprint in fingerprints] == [64, 64]

    nowhere = IngestOutputs(**{output: tmp_path / "nowhere" / output for output in OUTPUTS})
    storage.delete_file(f"{bucket.uri}/data/users.parquet")
    with pytest.raises(DataError, match=r"No file s3://.*/users\.parquet\. Parquet files in the folder: i"):
        run_ingest(lambda: None, spec, IngestConfig(), f"{bucket.uri}/data", nowhere)
    with pytest.raises(DataError, match=r"No folder s3://.*/other: expected it to hold interactions\.par"):
        run_ingest(lambda: None, spec, IngestConfig(), f"{bucket.uri}/other", nowhere)


def test_ingest_reads_a_glob_of_daily_logs_from_the_store(bucket: Any, tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from components.interaction_ingest.config import IngestConfig, WindowConfig
    from components.interaction_ingest.fingerprints import fingerprint_inputs
    from components.interaction_ingest.outputs import IngestOutputs
    from components.interaction_ingest.run import run_ingest
    from schemas.features import FeatureSpec
    from schemas.strict_config import parse

    write_tables(tmp_path / "data")
    storage.copy_tree(tmp_path / "data", f"{bucket.uri}/data")
    for days_ago in range(6):
        rows = [
            {"user": u, "item": i, "timestamp": at}
            for u, i, at in LOG
            if at == 1_795_305_600 - days_ago * DAY
        ]
        assert len(rows) == 10
        day = datetime.date(2026, 11, 22) - datetime.timedelta(days=days_ago)
        for part in range(2):
            lines = "".join(json.dumps(row) + "\n" for row in rows[part::2])
            storage.write_bytes(f"{bucket.uri}/logs/{day}/p{part}.jsonl.gz", gzip.compress(lines.encode()))
    tables = {"interactions": {"file": f"{bucket.uri}/logs/{{date}}/*.jsonl.gz"}}
    spec = parse(FeatureSpec, {**SPEC, "tables": tables}, source="test")
    window = WindowConfig(last_days=3, maximum_missing_days=0)
    report = run_ingest(
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
        spec,
        IngestConfig(),
        f"{bucket.uri}/data",
        IngestOutputs(**{output: tmp_path / output for output in OUTPUTS}),
        window=window,
    )
    assert report["files"]["interactions"] == [
        f"{bucket.uri}/logs/2026-11-{day}/p{part}.jsonl.gz" for day in (20, 21, 22) for part in (0, 1)
    ]
    assert (report["rows_read"], report["rows_kept"], report["dropped"]) == (30, 30, {})
    assert report["input_fingerprint"] == fingerprint_inputs(spec, f"{bucket.uri}/data", window)
    storage.delete_file(f"{bucket.uri}/logs/2026-11-21/p0.jsonl.gz")
    assert report["input_fingerprint"] != fingerprint_inputs(spec, f"{bucket.uri}/data", window)
    storage.delete_file(f"{bucket.uri}/logs/2026-11-21/p1.jsonl.gz")
    with pytest.raises(DataError, match="1 days of 2026-11-20 to 2026-11-22 have no file: 2026-11-21"):
        fingerprint_inputs(spec, f"{bucket.uri}/data", window)


def test_recommend_reads_tables_and_release_from_the_store(bucket: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    from pipeline.config import load_config
    from pipeline.recommend.offline import recommend

    class UserTower(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="age")])
        def call(self, age: Any) -> dict[str, Any]:
            is_old = tf.cast(age >= 23, tf.float32)
            return {"embedding": tf.stack([is_old, 1.0 - is_old], axis=1)}

    inputs = write_inputs(tmp_path / "m", "m")
    module = UserTower()
    tf.saved_model.save(module, str(inputs.model / "user_tower"), signatures={"serving_default": module.call})
    np.save(inputs.index / "embeddings.npy", np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32))
    pq.write_table(pa.table({"item": ["old", "young", "both"]}), inputs.index / "catalogue.parquet")
    push_release(inputs, f"{bucket.uri}/serving", run_id="r")
    write_tables(tmp_path / "data")
    storage.copy_tree(tmp_path / "data", f"{bucket.uri}/data")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(SPEC))
    content = {
        "run": {"name": "shop", "directory": str(tmp_path / "run")},
        "data": {"schema": str(tmp_path / "schema.yaml"), "directory": f"{bucket.uri}/data"},
        "serving": {"directory": f"{bucket.uri}/serving"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    config = load_config(str(tmp_path / "config.yaml"))

    for user, expected in (("u0", ["young", "both", "old"]), ("u6", ["old", "both", "young"])):
        answer = recommend(config, user, {}, [], k=3)
        assert [item.item_id for item in answer.items] == expected
    with pytest.raises(DataError, match="who is in neither"):
        recommend(config, "nobody", {}, [], k=3)
