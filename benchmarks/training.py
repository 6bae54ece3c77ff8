"""Speed and memory of training beside tensorflow-recommenders.

    .venv/bin/python benchmarks/training.py --json benchmarks/results/training.json

Every training runs in a process of its own, on two cores, whose clock starts after its first 50 steps. The
two sides of a figure run in turn, round after round; a ratio is taken within a round, and its figure is the
median over the rounds beside the lowest and the highest.

Both sides have the same features and towers, without a history, Adagrad for all weights, dropout and
temperature. Each has its own defaults otherwise: ours corrects by logQ and masks false negatives, the
Retrieval task does neither; ours runs an operation on one thread where there are two cores, TensorFlow's
default is two. Memory is the peak of a process above what it held after its imports.
`files_vs_memory` loads 10,000,000 rows of 100,000 users with 50,000 items from the artifacts of the ingest
and of Transform, as the Trainer does, and trains one epoch on them with histories of 20; its other side is
the same training without the loading.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate
from training_artifacts import write_artifacts
from training_data import Program, make_log, use_two_cores

from pipeline.cli import prepare_process
from schemas.features import load_feature_spec

ROOT = Path(__file__).resolve().parents[1]
OURS, THEIRS = "training_program.py", "tfrs_program.py"
SCHEMA = ROOT / "schemas" / "movielens_100k.yaml"
ROWS, MEMORY_ROWS, LARGE_TABLE = 1_000_000, 200_000, 1_000_000
FILE_ROWS, FILE_USERS, FILE_ITEMS = 10_000_000, 100_000, 50_001
QUICK_ROWS, QUICK_USERS, QUICK_ITEMS = 12_000, 200, 201
MATRIX = 2_048

Measurement = dict[str, float]


def measure(script: str, program: Program) -> Measurement:
    """Run a training in a new process.

    Args:
        script: `training_program.py` or `tfrs_program.py`.
        program: Its settings.

    Returns:
        What the script measured.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = json.dumps(dataclasses.asdict(program))
    completed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        sys.exit(f"{script} {arguments} failed:\n{completed.stderr}")
    found: Measurement = json.loads(completed.stdout.splitlines()[-1])
    print(f"{script} {arguments}: {found}", flush=True)
    return found


def measure_matrix_rate() -> float:
    """Return the float32 operations per second of a matrix product on two cores, the best of several."""
    program = (
        "import time, tensorflow as tf\n"
        f"a = tf.random.normal([{MATRIX}, {MATRIX}])\n"
        "def run():\n"
        "    start = time.perf_counter()\n"
        "    tf.matmul(a, a).numpy()\n"
        "    return time.perf_counter() - start\n"
        f"print(2 * {MATRIX} ** 3 / min(run() for _ in range(20)))\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, preexec_fn=use_two_cores
    )
    return float(completed.stdout)


def count_operations(program: Program) -> float:
    """Count the float32 operations of the matrix products that a training row cannot do without.

    Forward, and twice as much backward: two MLPs, and the row's similarities with the whole batch.
    """
    user_and_item_vectors = 4 + 3
    weights = program.hidden * program.dim * (user_and_item_vectors + 2)
    return 3.0 * 2.0 * (weights + program.batch * program.dim)


def measure_all(
    arguments: argparse.Namespace, directory: Path
) -> tuple[dict[str, Figure], dict[str, list[Measurement]]]:
    """Run every training and make the figures.

    Args:
        arguments: The command line.
        directory: Where the artifacts go.

    Returns:
        The figures, and every measurement by training.
    """
    quick = arguments.quick
    rows = QUICK_ROWS if quick else ROWS

    def speed(batch: int, **settings: Any) -> Program:
        warmup_steps = min(2 if quick else 50, rows // batch // 2)
        return dataclasses.replace(Program(batch, rows, warmup_steps=warmup_steps), **settings)

    memory = speed(512) if quick else Program(16_384, MEMORY_ROWS, warmup_steps=1)
    large_batch = speed(512 if quick else 4_096)
    files = dataclasses.replace(
        speed(512),
        rows=rows if quick else FILE_ROWS,
        users=QUICK_USERS if quick else FILE_USERS,
        items=QUICK_ITEMS if quick else FILE_ITEMS,
        files=str(directory),
    )
    # In a process that is gone afterwards: this one stays small, and imports no TensorFlow.
    writing = multiprocessing.get_context("fork").Process(
        target=write_artifacts, args=(make_log(files), load_feature_spec(str(SCHEMA)), directory)
    )
    writing.start()
    writing.join()
    if writing.exitcode:
        sys.exit(f"The artifacts could not be written: exit status {writing.exitcode}")
    large = {} if quick else {"items": LARGE_TABLE}
    lazy = {"tables_optimizer": "lazy_adam", "dense_optimizer": "adam", "learning_rate": 1e-3}
    programs = {
        "tfrs_512": (THEIRS, speed(512)),
        "ours_512": (OURS, speed(512)),
        "tfrs_4096": (THEIRS, large_batch),
        "ours_4096": (OURS, large_batch),
        "tfrs_memory": (THEIRS, memory),
        "ours_memory": (OURS, memory),
        "big_table_adagrad": (OURS, speed(512, **large)),
        "small_table_lazy_adam": (OURS, speed(512, **lazy)),
        "big_table_lazy_adam": (OURS, speed(512, **lazy, **large)),
        "files": (OURS, files),
    }
    measured: dict[str, list[Measurement]] = {name: [] for name in (*programs, "matrix_product")}
    # On tiny data, where sizes are all the same, equal programs are one measurement.
    known: dict[tuple[str, Program], Measurement] = {}
    for number in range(1 if quick else arguments.rounds):
        for name, (script, program) in programs.items():
            print(f"round {number + 1}: {name}", flush=True)
            if not quick or (script, program) not in known:
                known[script, program] = measure(script, program)
            measured[name].append(known[script, program])
        measured["matrix_product"].append({"operations_per_second": measure_matrix_rate()})

    def divide(key: str, first: str, second: str) -> list[float]:
        pairs = zip(measured[first], measured[second], strict=True)
        return [left[key] / right[key] for left, right in pairs]

    speed_key, memory_key = "examples_per_second", "bytes"
    operations = count_operations(programs["ours_4096"][1])
    shares = [
        found[speed_key] * operations / product["operations_per_second"]
        for found, product in zip(measured["ours_4096"], measured["matrix_product"], strict=True)
    ]
    training_shares = [
        found["train_seconds"] / (found["read_seconds"] + found["train_seconds"])
        for found in measured["files"]
    ]
    figures = {
        "speed_vs_tfrs_512": _spread(divide(speed_key, "ours_512", "tfrs_512"), "1", 1.3),
        "speed_vs_tfrs_4096": _spread(divide(speed_key, "ours_4096", "tfrs_4096"), "1", 1.5),
        "memory_vs_tfrs_16384": _spread(
            divide(memory_key, "ours_memory", "tfrs_memory"), "1", 0.25, at_most=True
        ),
        "share_of_matmul_rate": _spread(shares, "1", None),
        "files_vs_memory": _spread(training_shares, "1", 0.95),
    }
    for name, small in (("adagrad", "ours_512"), ("lazy_adam", "small_table_lazy_adam")):
        ratios = divide(speed_key, f"big_table_{name}", small)
        figures[f"big_table_{name}"] = _spread(ratios, "1", 0.85)
    for name in (
        "ours_512",
        "tfrs_512",
        "ours_4096",
        "tfrs_4096",
        "big_table_adagrad",
        "big_table_lazy_adam",
    ):
        rates = [found["examples_per_second"] for found in measured[name]]
        figures[f"{name}_examples_per_second"] = _spread(rates, "examples/s", None)
    for name in ("ours_memory", "tfrs_memory"):
        figures[f"{name}_mib"] = _spread([found["bytes"] / 2**20 for found in measured[name]], "MiB", None)
    return figures, measured


def _spread(values: list[float], unit: str, bar: float | None, at_most: bool = False) -> Figure:
    return Figure(statistics.median(values), unit, bar, at_most, lowest=min(values), highest=max(values))


def main() -> None:
    """Run from the command line."""
    parser = benchmark_parser("Speed and memory of training.")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of all trainings (default: %(default)s)"
    )
    parser.add_argument("--directory", type=Path, help="where the artifacts go (default: temporary)")
    arguments = parser.parse_args()
    prepare_process()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as temporary:
        figures, measured = measure_all(arguments, Path(temporary))
    table = [
        (
            name,
            f.value,
            f.lowest,
            f.highest,
            f.bar and f"at {'most' if f.at_most else 'least'} {f.bar:g}",
            f.unit,
        )
        for name, f in figures.items()
    ]
    print(tabulate(table, ("figure", "value", "lowest", "highest", "bar", "unit"), floatfmt=",.3f"))
    print(f"{time.monotonic() - started:.0f} s")
    if arguments.json:
        packages = ["tensorflow", "tf-keras", "tensorflow-recommenders", "tfx-bsl", "numpy"]
        write_json(arguments.json, figures, describe_versions(packages), raw=measured)
    missed = [name for name, figure in figures.items() if not figure.meets_bar]
    # On tiny data a training is over before it has its speed.
    if missed and not arguments.quick:
        sys.exit("Misses the bar: " + ", ".join(f"{name} {figures[name].value:.2f}" for name in missed))


if __name__ == "__main__":
    main()
