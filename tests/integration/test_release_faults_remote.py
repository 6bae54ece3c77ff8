"""In an object store, too, a reader sees one whole release, wherever a pusher is killed."""

import contextlib
import datetime
import hashlib
import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer

from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
from schemas.errors import ReleaseError
from schemas.release import find_current_release, read_current_release

pytestmark = pytest.mark.integration

SAVED_MODELS = ("item_tower", "user_tower", "retriever")
BUCKET: Final = "bucket"
SERVING: Final = f"s3://{BUCKET}/serving"


def locate_inputs(base: Path) -> PushInputs:
    """Name the folders that `write_inputs` writes."""
    parts = ("schema", "transform", "statistics")
    user, item = (TableInputs(*(base / table / part for part in parts)) for table in ("user", "item"))
    return PushInputs(
        base / "model",
        base / "index",
        base / "report",
        base / "ingest_report",
        user=user,
        item=item,
        retriever=base / "retriever",
    )


# Forks a pusher a line, so that starting one takes no imports; says how it ended.
PUSHERS = f"""
import os, sys
from pathlib import Path
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
{inspect.getsource(locate_inputs)}
for line in sys.stdin:
    pusher = os.fork()
    if pusher == 0:
        push_release(locate_inputs(Path(line.rstrip())), sys.argv[1], run_id="forked")
        os._exit(0)
    print(pusher, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pusher, 0)[1]), flush=True)
"""


def write_inputs(base: Path, model_id: str) -> PushInputs:
    """Fake folders in which every file names the training that it comes from."""
    parts: dict[str, dict[str, Any]] = {
        "model/model.json": {"dim": 2, "temperature": 0.1, "warm_start": None},
        "model/state/training_state.json": {},
        "index/dssm_part.json": {"part": "index", "dim": 2, "items": 3},
        "report/evaluation_report.json": {"metrics": {}, "popularity": {}, "trained_on": None},
        "ingest_report/ingest_report.json": {"sequence_figures": {}, "day_fingerprints": {}},
    }
    texts = ["report/per_user_metrics.parquet", "retriever/assets/release_version.txt"]
    for part, folder in zip(SAVED_MODELS, ("model/item_tower", "model/user_tower", "retriever"), strict=True):
        parts[f"{folder}/assets.extra/dssm_part.json"] = {"part": part}
        texts += [f"{folder}/saved_model.pb", f"{folder}/variables/data"]
    for table in ("user", "item"):
        texts += [
            f"{table}/schema/a",
            f"{table}/transform/a",
            f"{table}/statistics/Split-all/FeatureStats.pb",
        ]
    contents = {name: json.dumps(content | {"model_id": model_id}) for name, content in parts.items()}
    for name, text in {**contents, **dict.fromkeys(texts, model_id)}.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    return locate_inputs(base)


class Gate:
    """Stands before the store: counts the changes that a pusher asks for, and kills it before one of them.

    A change is a request after which somebody else sees something else: an object written or completed, or
    objects deleted. What comes before completing an upload of several parts shows nothing.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._busy = 0
        self._idle = threading.Condition(self._lock)
        self.changes = 0
        self.last: int | None = None
        self.pusher = 0
        self.known = threading.Event()

    def __call__(self, request: dict[str, Any], respond: Any) -> Iterable[bytes]:
        query = request["QUERY_STRING"]
        method = request["REQUEST_METHOD"]
        is_change = (
            method == "DELETE"
            or (method == "PUT" and "uploadId" not in query)
            or (method == "POST" and ("uploadId" in query or "delete" in query))
        )
        with self._lock:
            self.changes += is_change
            is_last = is_change and self.changes == self.last
            self._busy += 1
        try:
            if is_last:
                self.known.wait(timeout=30)
                os.kill(self.pusher, signal.SIGKILL)
            if self.last is not None and self.changes >= self.last:
                # What others of its threads asked for at the same time does not arrive, either.
                respond("503 Service Unavailable", [])
                return [b""]
            # One after the other: moto, unlike a store, has moments without the object that it replaces.
            with self._turn:
                return list(self._application(request, respond))
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def open(self) -> None:
        """Wait for what is being done, and let everything through."""
        with self._idle:
            assert self._idle.wait_for(lambda: self._busy == 0, timeout=30)
            self.last = None


class Store:
    """A bucket as other programs see it, behind a gate."""

    def __init__(self, endpoint: str, gate: Gate) -> None:
        self.gate = gate
        self.endpoint = endpoint
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="something",
        )
        self._client.create_bucket(Bucket=BUCKET)

    def list(self) -> dict[str, str]:
        """List the MD5 of every object but the empty entries for folders, as one answer has it."""
        found = self._client.list_objects_v2(Bucket=BUCKET)
        assert not found["IsTruncated"]
        return {
            entry["Key"].removeprefix("serving/"): entry["ETag"].strip('"')
            for entry in found.get("Contents", [])
            if not entry["Key"].endswith("/")
        }

    def read(self, key: str) -> str:
        return self._client.get_object(Bucket=BUCKET, Key=f"serving/{key}")["Body"].read().decode()

    def delete(self, keys: Iterable[str]) -> None:
        objects = [{"Key": f"serving/{key}"} for key in keys]
        self._client.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})

    def empty(self) -> None:
        found = self._client.list_objects_v2(Bucket=BUCKET)
        assert not found["IsTruncated"]
        for entry in found.get("Contents", []):
            self._client.delete_object(Bucket=BUCKET, Key=entry["Key"])

    def make_claims_old(self) -> None:
        """Let a day go by for the claims, by the store's own clock."""
        keys = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys
        for key in list(keys):
            if "/.claim-" in key:
                keys[key].last_modified -= datetime.timedelta(days=2)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Return a store that this process reaches, and that has an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    gate = Gate(server._server.app)
    server._server.app = gate
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    store = Store(f"http://{host}:{port}", gate)
    # All servers of a process have the same objects.
    store.empty()
    yield store
    server.stop()


@pytest.fixture
def pushers(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Return a process that forks a pusher for each folder of inputs that it reads."""
    command = [sys.executable, "-c", PUSHERS, SERVING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def push_and_die(store: Store, pushers: subprocess.Popen[str], inputs: Path, change: int) -> bool:
    """Push in another process that is killed before its n-th change; returns whether it came to its end."""
    assert pushers.stdin is not None
    assert pushers.stdout is not None
    store.gate.changes = 0
    store.gate.known.clear()
    store.gate.last = change
    pushers.stdin.write(f"{inputs}\n")
    pushers.stdin.flush()
    store.gate.pusher = int(pushers.stdout.readline())
    store.gate.known.set()
    ended = int(pushers.stdout.readline())
    store.gate.open()
    assert ended in (0, -signal.SIGKILL)
    return ended == 0


def check_whole(objects: dict[str, str], manifest: dict[str, Any]) -> None:
    """Compare a listing with a manifest and with what the inputs hold, by MD5."""
    version, model_id = str(manifest["version"]), manifest["model_id"]
    for part, described in manifest["parts"].items():
        folder = f"{part}/{version}/"
        found = {key.removeprefix(folder): md5 for key, md5 in objects.items() if key.startswith(folder)}
        assert found.keys() == described["files"].keys()
    expected = hashlib.md5(model_id.encode()).digest()
    # The ETag of an upload in one part is the MD5 of that part's MD5.
    etag = f"{hashlib.md5(expected).hexdigest()}-1"
    for part in SAVED_MODELS:
        assert objects[f"{part}/{version}/saved_model.pb"] == etag
        assert objects[f"{part}/{version}/variables/data"] == etag


def check_servers_see_whole_models(objects: dict[str, str], files: dict[str, set[str]]) -> None:
    """A SavedModel's `saved_model.pb`, by which a server finds it, is there only beside all other files."""
    for part in SAVED_MODELS:
        for key in objects:
            match = re.fullmatch(rf"({part}/\d+/)saved_model\.pb", key)
            if match:
                found = {other.removeprefix(match[1]) for other in objects if other.startswith(match[1])}
                assert found == files[part]


def list_saved_model_files(manifest: dict[str, Any]) -> dict[str, set[str]]:
    return {part: set(manifest["parts"][part]["files"]) for part in SAVED_MODELS}


def read_models_config(store: Store) -> int:
    [version] = set(re.findall(r"versions: (\d+)", store.read("models.config")))
    return int(version)


def test_killed_before_each_change_of_an_object(
    store: Store, pushers: subprocess.Popen[str], tmp_path: Path
) -> None:
    write_inputs(tmp_path / "a", "a")
    write_inputs(tmp_path / "b", "b")
    push_release(locate_inputs(tmp_path / "a"), SERVING, run_id="first")
    current = find_current_release(SERVING)
    files = list_saved_model_files(json.loads(store.read("releases/1/manifest.json")))
    seen = set()
    for change in range(1, 60):
        before = current.version
        finished = push_and_die(store, pushers, tmp_path / "b", change)
        objects = store.list()
        current = find_current_release(SERVING)
        check_whole(objects, json.loads(store.read(f"releases/{current.version}/manifest.json")))
        check_servers_see_whole_models(objects, files)
        assert f"releases/{read_models_config(store)}/manifest.json" in objects
        seen.add((current.version - before, current.manifest.model_id))
        if finished:
            break
        # Nobody knows that it is dead; a day later, the next push cleans up.
        store.make_claims_old()
        current = push_release(locate_inputs(tmp_path / "a"), SERVING, run_id="next")
        objects = store.list()
        check_whole(objects, json.loads(store.read(f"releases/{current.version}/manifest.json")))
        assert read_models_config(store) == current.version
        published = {key.split("/")[1] for key in objects if key.endswith("/manifest.json")}
        assert {key.split("/")[1] for key in objects if key != "models.config"} == published
        assert not [key for key in objects if "/.claim-" in key]
        store.delete(key for key in objects if f"/{current.version}/" not in key and key != "models.config")
    assert finished
    # The claim, 7 files of the state, 1 of the index, 3 of each tower, 4 of the retriever, the manifest,
    # models.config.
    assert change > 20
    assert seen == {(0, "a"), (1, "b")}
    assert read_current_release(SERVING, tmp_path / "cache").manifest.model_id == "b"


def test_a_killed_pusher_is_taken_for_alive_for_a_day(
    store: Store, pushers: subprocess.Popen[str], tmp_path: Path
) -> None:
    inputs = write_inputs(tmp_path / "a", "a")
    assert not push_and_die(store, pushers, tmp_path / "a", 15)
    before = store.list()
    assert {key.split("/")[1] for key in before} == {"1"}

    assert push_release(inputs, SERVING, run_id="next").version == 2
    assert before.items() <= store.list().items()
    store.make_claims_old()
    assert push_release(inputs, SERVING, run_id="next").version == 3
    assert {key.split("/")[1] for key in store.list() if key != "models.config"} == {"2", "3"}


class Poller:
    """Lists the store all the time, as model servers do."""

    def __init__(self, store: Store, files: dict[str, set[str]]) -> None:
        self._store = store
        self._files = files
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.looks = 0
        self.versions: set[int] = set()
        self.failures: list[BaseException] = []

    def __enter__(self) -> "Poller":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                version = read_models_config(self._store)
                objects = self._store.list()
                check_servers_see_whole_models(objects, self._files)
                for part in SAVED_MODELS:
                    assert f"{part}/{version}/saved_model.pb" in objects
                self.versions.add(version)
                self.looks += 1
        except BaseException as error:
            self.failures.append(error)


def test_a_poller_sees_whole_models_only(store: Store, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "a", "a")
    push_release(inputs, SERVING, run_id="first")
    files = list_saved_model_files(json.loads(store.read("releases/1/manifest.json")))

    def refuse(parts: object) -> None:
        raise ReleaseError("skewed")

    def push_and_fail() -> None:
        with contextlib.suppress(ReleaseError):
            push_release(inputs, SERVING, run_id="r", check_parts=refuse)

    def push() -> None:
        push_release(inputs, SERVING, run_id="r")

    with Poller(store, files) as poller:
        for _ in range(3):
            threads = [threading.Thread(target=target) for target in (push, push, push_and_fail)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert poller.failures == []
    assert poller.looks > 6
    assert len(poller.versions) > 2
    published = [int(key.split("/")[1]) for key in store.list() if key.endswith("/manifest.json")]
    assert len(published) == 7
    assert read_models_config(store) == max(published)
    assert not [key for key in store.list() if "/.claim-" in key]
