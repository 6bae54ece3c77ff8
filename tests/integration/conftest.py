"""A real S3 server on loopback, what an ingest wrote, and a browser."""

import base64
import itertools
import json
import logging
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import websocket
from moto.server import ThreadedMotoServer

from schemas.features import FeatureSpec

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_START_SECONDS = 60
BROWSER_WAIT_SECONDS = 60


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


class Browser:
    """A page of a browser, asked through the Chrome DevTools Protocol, and all that it said and asked for."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, address: str, width: int, scheme: str) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.send("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self._socket.recv()))

    def ask(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Ask until the answer is true, and return it."""
        end = time.monotonic() + BROWSER_WAIT_SECONDS
        while not (answer := self.ask(expression)):
            assert time.monotonic() < end, f"not within {BROWSER_WAIT_SECONDS} s: {expression}"
            time.sleep(0.05)
        return answer

    def press(self, key: str, code: int) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def take_picture(self, file: Path) -> None:
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    def list_complaints(self) -> list[dict[str, Any]]:
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]

    def list_requests(self) -> list[str]:
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a headless browser with one empty page."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)}; `make browser` says why")
    profile = tmp_path_factory.mktemp("browser")
    process = subprocess.Popen(
        [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = profile / "DevToolsActivePort"
        end = time.monotonic() + BROWSER_START_SECONDS
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json") as response:
            [target] = [one for one in json.load(response) if one["type"] == "page"]
        page = Browser(target["webSocketDebuggerUrl"])
        yield page
        page.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
