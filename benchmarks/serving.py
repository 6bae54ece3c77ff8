"""`dssm serve` under load, beside the retriever called in-process.

    .venv/bin/python benchmarks/serving.py --json benchmarks/results/serving.json

A model of MovieLens-100K, two epochs, is released and served with the program's defaults. The load is that of
benchmarks/http_load.py, a process of its own on the same machine: POST /recommend, ten items for known users
in turn, at 1, 8 and 64 connections.

The other program loads the release's retriever with TensorFlow and calls it for the same users, one in each
call, from raw features, history and excluded items as arrays to item ids and scores as arrays; on one thread,
and on as many as there are cores. `serve_vs_in_process` divides the server's answers a second at 64
connections by the faster of the two. The two take turns, and the server is idle while the other runs. Both
must give the same items.

`ready_seconds` are those from starting the command to the first 200 of /readyz, which is asked for every
quarter of a second.

`failed_requests` are the requests that failed, of all loads and of one at 8 connections that goes on while 20
releases are pushed and 5 times an older one is made current again, each of which must take over.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evaluation import find_tables
from reporting import Figure, benchmark_parser, describe_versions, write_json
from whole_run import CONFIG, DSSM, set_options

LOAD_PROGRAM: Final = Path(__file__).with_name("http_load.py")
CONNECTIONS: Final = (1, 8, 64)
RELOAD_CONNECTIONS: Final = 8
K: Final = 10
RATE_BAR: Final = 0.5
READY_BAR_SECONDS: Final = 10.0
START_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.5
READY_POLL_SECONDS: Final = 0.25
TAKE_OVER_SECONDS: Final = 120.0
TRAINING: Final = (
    "training.per_replica_batch=64",
    "training.epochs=2",
    "evaluation.blessing_metric=recall_at_10",
    "evaluation.blessing_minimum=0.0",
    "evaluation.blessing_baselines=[]",
)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    """How often server and other program take turns, and how often the server is started."""
    seconds: float
    """Of each load."""
    users: int
    """That are asked for."""
    reloads: int
    rollbacks: int


FULL: Final = Scale(rounds=3, seconds=10.0, users=500, reloads=20, rollbacks=5)
QUICK: Final = Scale(rounds=1, seconds=1.0, users=50, reloads=2, rollbacks=1)


@dataclass(frozen=True)
class Served:
    """A server that is ready."""

    port: int
    ready_seconds: float
    """From its start until it was."""

    def ask(self, path: str, body: str | None = None) -> Any:
        """Ask for a path, or send it a body."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=None if body is None else body.encode()
        )
        with opener.open(request, timeout=START_SECONDS) as response:
            return json.load(response)


def make_release(tables: Path, folder: Path) -> list[str]:
    """Run the pipeline to a release.

    Args:
        tables: The tables.
        folder: Gets runs/ and serving/.

    Returns:
        The options that a command on that release takes.
    """
    places = [
        f"data.directory={tables}",
        f"run.directory={folder}/runs",
        f"serving.directory={folder}/serving",
    ]
    command = [str(DSSM), "run", "--config", CONFIG, *set_options([*places, *TRAINING])]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"dssm run failed with exit status {finished.returncode}:\n{finished.stdout}")
    return ["--config", CONFIG, *set_options(places)]


@contextlib.contextmanager
def serve(options: Sequence[str]) -> Iterator[Served]:
    """Start the server, and stop it as an operator would.

    Args:
        options: Those of the release.

    Yields:
        The server, ready.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(DSSM), "serve", *options, "--port", "0", "--poll-seconds", str(POLL_SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while not (address := re.search(r"http://127\.0\.0\.1:(\d+)", said)):
            line = process.stdout.readline()
            if not line:
                sys.exit(f"dssm serve ended:\n{said}")
            said += line
        # A full pipe would stop it.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        served = Served(int(address[1]), 0.0)
        while True:
            with contextlib.suppress(urllib.error.HTTPError):
                served.ask("/readyz")
                break
            if time.perf_counter() > start + START_SECONDS:
                sys.exit(f"dssm serve is not ready after {START_SECONDS} s")
            time.sleep(READY_POLL_SECONDS)
        yield Served(served.port, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)
    if process.returncode:
        sys.exit(f"dssm serve ended with exit status {process.returncode}")


def start_load(port: int, bodies: Path, connections: int, seconds: float) -> subprocess.Popen[str]:
    """Start a load, which ends by itself, or when its standard input is closed."""
    command = [sys.executable, str(LOAD_PROGRAM), "--port", str(port), "--bodies", str(bodies)]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish_load(load: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of a load.

    Args:
        load: As it was started.

    Returns:
        What it printed.
    """
    assert load.stdout is not None
    line = load.stdout.readline()
    if load.wait() or not line:
        sys.exit(f"{LOAD_PROGRAM.name} failed with exit status {load.returncode}")
    return json.loads(line)


def call_in_process(serving: Path, users: Sequence[str], seconds: float, threads: int) -> dict[str, Any]:
    """Call the retriever of the current release, one user in each call.

    Args:
        serving: The serving directory.
        users: Ids of users of the release.
        seconds: How long.
        threads: How many call it at the same time.

    Returns:
        `calls_per_second`, and the item ids of the first user.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf

    from pipeline.config import load_config
    from schemas.contract import RETRIEVER, USERS
    from schemas.features import load_feature_spec
    from schemas.release import find_current_version

    version = str(find_current_version(serving))
    spec = load_feature_spec(load_config(CONFIG, ()).data.schema)
    history = spec.history
    assert history is not None
    loaded = tf.saved_model.load(str(serving / RETRIEVER / version))
    signature = loaded.signatures["serving_default"]
    dtypes = {name: one.dtype for name, one in signature.structured_input_signature[1].items()}
    files = sorted((serving / USERS / version).glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    rows = {row[spec.user_id.name]: row for row in table.to_pylist()}

    def make_arrays(row: dict[str, Any]) -> dict[str, np.ndarray]:
        items = [item.encode() for item in row[spec.item_id.name]]
        newest = ([b""] * history.length + items)[-history.length :]
        special = {
            history.name: newest,
            "exclude": items or [b""],
            "k": K,
        }
        return {
            name: np.array([special[name] if name in special else row[name]]).astype(dtype.as_numpy_dtype)
            for name, dtype in dtypes.items()
        }

    def call(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(array, dtypes[name]) for name, array in arrays.items()}
        return {name: value.numpy() for name, value in signature(**tensors).items()}

    requests = [make_arrays(rows[user]) for user in users]
    items = [item.decode() for item in call(requests[0])["item_ids"][0]]
    calls = [0] * threads
    end = time.perf_counter() + seconds

    def repeat(number: int) -> None:
        while time.perf_counter() < end:
            call(requests[(number + calls[number]) % len(requests)])
            calls[number] += 1

    start = time.perf_counter()
    workers = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"calls_per_second": sum(calls) / (time.perf_counter() - start), "items": items}


def run_in_process(folder: Path, users: Path, seconds: float, threads: int) -> dict[str, Any]:
    """Run the other program in a process of its own."""
    command = [sys.executable, __file__, "--in-process", str(folder / "serving"), "--users", str(users)]
    command += ["--seconds", str(seconds), "--threads", str(threads)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def find_push_inputs(artifacts: Path) -> Any:
    """Find what TowerPusher was given in the only run.

    Args:
        artifacts: The run's artifacts.

    Returns:
        The `PushInputs`.
    """
    from components.tower_pusher.compose import PushInputs, TableInputs

    def find(component: str, output: str) -> Path:
        [folder] = (artifacts / component / output).iterdir()
        return folder

    def find_table(name: str) -> TableInputs:
        prefix = name.capitalize()
        return TableInputs(
            schema=find("FeatureSchema", f"{name}_schema"),
            transform_graph=find(f"{prefix}Transform", "transform_graph"),
            statistics=find(f"{prefix}StatisticsGen", "statistics"),
        )

    return PushInputs(
        model=find("Trainer", "model") / "Format-Serving",
        index=find("CandidateIndexer", "index"),
        report=find("RetrievalEvaluator", "report"),
        ingest_report=find("InteractionIngest", "report"),
        user=find_table("user"),
        item=find_table("item"),
        ann=find("AnnIndexer", "ann"),
        retriever=find("CandidateIndexer", "retriever"),
        sequences=find("InteractionIngest", "sequences"),
    )


def change_releases(served: Served, folder: Path, scale: Scale) -> list[dict[str, Any]]:
    """Push and roll back, and wait each time until the server answers from the current release.

    Args:
        served: The server.
        folder: What `make_release` filled.
        scale: How often.

    Returns:
        Of each change: what it was, the version, and the seconds until it answered.
    """
    from components.tower_pusher.logic import push_release
    from schemas.release import find_current_version, roll_back

    serving = folder / "serving"
    inputs = find_push_inputs(folder / "runs" / "artifacts")
    changes = []
    for number in range(scale.reloads + scale.rollbacks):
        is_push = number < scale.reloads
        if is_push:
            version = push_release(inputs, serving, run_id="benchmark").version
        else:
            current = find_current_version(serving)
            assert current is not None
            version = current - 1
            roll_back(serving, version, reason="benchmark")
        start = time.perf_counter()
        while served.ask("/release")["version"] != version:
            if time.perf_counter() > start + TAKE_OVER_SECONDS:
                sys.exit(f"Release {version} does not answer after {TAKE_OVER_SECONDS} s")
            time.sleep(0.05)
        changes.append(
            {
                "change": "push" if is_push else "rollback",
                "version": version,
                "seconds": time.perf_counter() - start,
            }
        )
    return changes


def measure(scale: Scale, folder: Path, options: Sequence[str]) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Measure everything on one release.

    Args:
        scale: How much.
        folder: What `make_release` filled.
        options: What it returned.

    Returns:
        The figures, and every single measurement.
    """
    raw: dict[str, Any] = {"ready_seconds": [], "loads": [], "in_process": []}
    bodies, users_file = folder / "bodies.jsonl", folder / "users.json"
    for _ in range(scale.rounds - 1):
        with serve(options) as served:
            raw["ready_seconds"].append(served.ready_seconds)
    with serve(options) as served:
        raw["ready_seconds"].append(served.ready_seconds)
        users = served.ask(f"/users?limit={scale.users}")["users"]
        users_file.write_text(json.dumps(users), encoding="utf-8")
        requests = [json.dumps({"user": user, "k": K}) for user in users]
        bodies.write_text("\n".join(requests) + "\n", encoding="utf-8")
        answered = [item["item_id"] for item in served.ask("/recommend", requests[0])["items"]]
        for _ in range(scale.rounds):
            for threads in sorted({1, len(os.sched_getaffinity(0))}):
                run = run_in_process(folder, users_file, scale.seconds, threads)
                if run["items"] != answered:
                    sys.exit(f"The retriever gives {run['items']}, and the server {answered}")
                raw["in_process"].append({"threads": threads, **run})
            raw["loads"] += [
                finish_load(start_load(served.port, bodies, connections, scale.seconds))
                for connections in CONNECTIONS
            ]
        load = start_load(served.port, bodies, RELOAD_CONNECTIONS, seconds=3600.0)
        raw["changes"] = change_releases(served, folder, scale)
        assert load.stdin is not None
        load.stdin.close()
        raw["load_during_changes"] = finish_load(load)
    return make_figures(raw), raw


def make_figures(raw: dict[str, Any]) -> dict[str, Figure]:
    """Make the figures of the measurements.

    Args:
        raw: The measurements, as `measure` gathers them.

    Returns:
        Each figure by its name.
    """

    def take(connections: int, name: str) -> list[float]:
        return [load[name] for load in raw["loads"] if load["connections"] == connections]

    def median(values: list[float], unit: str, bar: float | None = None, at_most: bool = False) -> Figure:
        return Figure(statistics.median(values), unit, bar, at_most, lowest=min(values), highest=max(values))

    by_threads: dict[int, list[float]] = {}
    for run in raw["in_process"]:
        by_threads.setdefault(run["threads"], []).append(run["calls_per_second"])
    in_process = [max(rates) for rates in zip(*by_threads.values(), strict=True)]
    rates = take(max(CONNECTIONS), "requests_per_second")
    ratios = [ours / theirs for ours, theirs in zip(rates, in_process, strict=True)]
    failed = sum(load["failed"] for load in [*raw["loads"], raw["load_during_changes"]])
    figures = {
        "serve_vs_in_process": median(ratios, "1", RATE_BAR),
        "failed_requests": Figure(failed, "1", 0.0, at_most=True),
        "ready_seconds": median(raw["ready_seconds"], "s", READY_BAR_SECONDS, at_most=True),
        "in_process_calls_per_second": median(in_process, "1/s"),
    }
    for connections in CONNECTIONS:
        figures[f"requests_per_second_{connections}"] = median(
            take(connections, "requests_per_second"), "1/s"
        )
        for name in ("p50_ms", "p99_ms"):
            figures[f"{name}_{connections}"] = median(take(connections, name), "ms")
    figures["p99_ms_during_changes"] = Figure(raw["load_during_changes"]["p99_ms"], "ms")
    figures["take_over_seconds"] = median([change["seconds"] for change in raw["changes"]], "s")
    return figures


def main() -> None:
    """Measure, print and write."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--users", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        users = json.loads(arguments.users.read_text(encoding="utf-8"))
        run = call_in_process(arguments.in_process, users, arguments.seconds, arguments.threads)
        print(json.dumps(run))
        return
    scale = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        folder = Path(temporary)
        options = make_release(find_tables(arguments.quick, folder), folder)
        figures, raw = measure(scale, folder, options)
    for name, figure in figures.items():
        bar = "" if figure.bar is None else f"  bar {figure.bar}"
        print(f"{name}  {figure.value:.3f} {figure.unit}{bar}")
    for failure in raw["load_during_changes"]["failures"]:
        print(f"failed: {failure}")
    if arguments.json:
        versions = describe_versions(["tensorflow", "fastapi", "uvicorn", "numpy"])
        write_json(arguments.json, figures, versions, raw)


if __name__ == "__main__":
    main()
