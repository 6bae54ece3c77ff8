"""The evaluation's ranking beside a matrix product and NumPy's argpartition.

    .venv/bin/python benchmarks/evaluation.py --json benchmarks/results/evaluation.json

6,000 queries against 1,000,000 items of 64 numbers, K = 100. The pipeline's program ranks each query's
held-out item with 50 items masked, lists its best 100 items and computes every metric at K = 10, 50 and 100;
the embeddings are mapped from a file, as those of the index are. The other program multiplies the same
matrices and gives each row of the product to `np.argpartition`, and does no more. Its product of 24 GB is
made 256 queries at a time.

The two take turns, each in a process of its own. `evaluation_vs_blas` is the ratio of their queries a second.
The memory is the peak of the pipeline's process, its libraries among it, less the size of the catalogue's
embeddings.

`report_seconds_ml100k` are the seconds that RetrievalEvaluator and RunReport take in a `dssm run` on
MovieLens-100K, two epochs, with every baseline, slices, intervals, the page, and the model of an earlier run
to compare with.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from reporting import Figure, benchmark_parser, describe_versions, write_json
from whole_run import CONFIG, DSSM, set_options

from schemas.ranking import ItemSets, compute_metrics, rank_in_blocks, score_by_inner_product

KS: Final = (10, 50, 100)
MASKED: Final = 50
BLAS_BLOCK: Final = 256
PROGRAMS: Final = ("pipeline", "numpy")
RATE_BAR: Final = 0.5
MEMORY_BAR_GIB: Final = 1.0
REPORT_BAR_SECONDS: Final = 20.0
MOVIELENS: Final = "data/movielens-100k"
REPORT_STEPS: Final = ("RetrievalEvaluator", "RunReport")


@dataclass(frozen=True)
class Scale:
    """How much is ranked."""

    queries: int
    items: int
    dim: int = 64


FULL: Final = Scale(6_000, 1_000_000)
QUICK: Final = Scale(300, 20_000)


def write_embeddings(scale: Scale, folder: Path) -> None:
    """Write unit vectors: items at random, and each query near an item.

    Args:
        scale: How many.
        folder: Gets items.npy, queries.npy and targets.npy, the rows of the items that the queries are near.
    """
    random = np.random.default_rng(0)
    items = random.standard_normal((scale.items, scale.dim), dtype=np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    targets = random.integers(0, scale.items, scale.queries)
    queries = items[targets] + 0.3 * random.standard_normal((scale.queries, scale.dim), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for name, array in (("items", items), ("queries", queries), ("targets", targets)):
        np.save(folder / f"{name}.npy", array)


def rank_as_the_pipeline_does(
    queries: np.ndarray, items: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """Rank the targets and list the best items.

    Args:
        queries: [queries, dim].
        items: [items, dim].
        targets: [queries] rows of the items to be found.

    Returns:
        The mean of every metric.
    """
    drawn = np.random.default_rng(1).integers(0, len(items), (len(queries), MASKED))
    owners = np.repeat(np.arange(len(queries)), MASKED)
    is_other = drawn.ravel() != targets[owners]
    masked = ItemSets.from_pairs(owners[is_other], drawn.ravel()[is_other], len(queries))
    held_out = ItemSets.of_one(targets)
    scores = score_by_inner_product(queries, items)
    ranking = rank_in_blocks(scores, held_out, masked, len(items), max(KS))
    found = compute_metrics(ranking.ranks, held_out, KS)
    return {name: float(values.mean()) for name, values in found.items()}


def multiply_and_partition(queries: np.ndarray, items: np.ndarray) -> None:
    """Find the places of the best items, and nothing else.

    Args:
        queries: [queries, dim].
        items: [items, dim].
    """
    transposed, k = items.T, max(KS)
    for start in range(0, len(queries), BLAS_BLOCK):
        for row in queries[start : start + BLAS_BLOCK] @ transposed:
            np.argpartition(row, len(row) - k)


def run_program(name: str, folder: Path) -> dict[str, Any]:
    """Run one program in this process.

    Args:
        name: One of `PROGRAMS`.
        folder: What `write_embeddings` wrote.

    Returns:
        `seconds`, `peak_bytes`, and the pipeline's `metrics`.
    """
    items = np.load(folder / "items.npy", mmap_mode="r")
    queries, targets = (np.load(folder / f"{array}.npy") for array in ("queries", "targets"))
    metrics = None
    start = time.perf_counter()
    if name == "pipeline":
        metrics = rank_as_the_pipeline_does(queries, items, targets)
    else:
        multiply_and_partition(queries, np.array(items))
    seconds = time.perf_counter() - start
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak_bytes, "metrics": metrics}


def run_apart(name: str, folder: Path) -> dict[str, Any]:
    """Run one program in a process of its own."""
    command = [sys.executable, __file__, "--program", name, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(scale: Scale, rounds: int) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Let the programs take turns.

    Args:
        scale: How much is ranked.
        rounds: How often each program runs.

    Returns:
        The figures, and every run by program.
    """
    raw: dict[str, list[dict[str, Any]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        write_embeddings(scale, Path(temporary))
        for _ in range(rounds):
            for name in PROGRAMS:
                raw[name].append(run_apart(name, Path(temporary)))
    seconds = {name: [run["seconds"] for run in runs] for name, runs in raw.items()}
    ratios = [theirs / ours for ours, theirs in zip(seconds["pipeline"], seconds["numpy"], strict=True)]
    catalogue = scale.items * scale.dim * 4
    above = max(run["peak_bytes"] - catalogue for run in raw["pipeline"]) / 2**30
    figures = {
        "evaluation_vs_blas": Figure(
            statistics.median(ratios), "1", RATE_BAR, lowest=min(ratios), highest=max(ratios)
        ),
        "evaluation_memory_above_catalogue_gib": Figure(above, "GiB", MEMORY_BAR_GIB, at_most=True),
        "evaluation_queries_per_second": Figure(
            scale.queries / statistics.median(seconds["pipeline"]), "1/s"
        ),
        "blas_queries_per_second": Figure(scale.queries / statistics.median(seconds["numpy"]), "1/s"),
    }
    return figures, raw


def measure_report(data: Path, folder: Path) -> dict[str, float]:
    """Run the pipeline twice, and time the evaluation and the report of the second run.

    Args:
        data: The tables.
        folder: Gets runs and releases.

    Returns:
        Seconds by step.
    """
    settings = [
        f"data.directory={data}",
        f"run.directory={folder}/runs",
        f"serving.directory={folder}/serving",
        "training.per_replica_batch=64",
        "training.epochs=2",
        "evaluation.blessing_metric=recall_at_10",
        "evaluation.blessing_minimum=0.0",
        "evaluation.blessing_baselines=[]",
    ]
    screen = ""
    for seed in (1, 2):
        options = set_options([*settings, f"training.seed={seed}"])
        command = [str(DSSM), "run", "--config", CONFIG, *options]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        # One that is not blessed was evaluated, too; the first has to leave a release.
        if finished.returncode not in ((0,) if seed == 1 else (0, 3)):
            sys.exit(f"dssm run failed with exit status {finished.returncode}:\n{finished.stdout}")
        screen = finished.stdout
    return {
        step: float(match[1])
        for step in REPORT_STEPS
        if (match := re.search(rf"^\[\d+/\d+\] {step} took ([\d.]+) s", screen, re.MULTILINE))
    }


def find_tables(quick: bool, folder: Path) -> Path:
    """Find MovieLens-100K, or draw a small data set.

    Args:
        quick: Whether a small one is enough.
        folder: Gets it.

    Returns:
        The folder of the tables.
    """
    if not quick:
        if not Path(MOVIELENS).is_dir():
            sys.exit(f"Expected tables in {MOVIELENS}. Received: no folder. Run: dssm fetch movielens-100k")
        return Path(MOVIELENS)
    sizes = ["--users", "300", "--items", "120", "--interactions", "6000", "--days", "20"]
    command = [str(DSSM), "synth", *sizes, "--output", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "data"


def main() -> None:
    """Measure, print and write."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each program runs")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.program:
        print(json.dumps(run_program(arguments.program, arguments.folder)))
        return
    scale, rounds = (QUICK, 1) if arguments.quick else (FULL, arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        steps = measure_report(find_tables(arguments.quick, Path(temporary)), Path(temporary))
    figures, raw = measure(scale, rounds)
    figures["report_seconds_ml100k"] = Figure(sum(steps.values()), "s", REPORT_BAR_SECONDS, at_most=True)
    raw["report"] = steps
    for name, figure in figures.items():
        bar = "" if figure.bar is None else f"  bar {figure.bar}"
        print(f"{name}  {figure.value:.3f} {figure.unit}{bar}")
    if arguments.json:
        write_json(arguments.json, figures, describe_versions(["numpy"]), raw)


if __name__ == "__main__":
    main()
