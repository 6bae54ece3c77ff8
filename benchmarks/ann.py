"""Recall and speed of the approximate index over a million items of a trained model.

    .venv/bin/python benchmarks/ann.py --json benchmarks/results/ann.json
    .venv/bin/python benchmarks/ann.py --run runs/large

A two-tower model of width 64 is trained by `dssm run` on tables of `dssm synth` with 1,000,000 items, unless
--run names the folder of a run that is there (`run.directory`, with the default schema). AnnIndexer's program
then chooses an index by its defaults. What it chose is measured here once more, on users drawn anew, by
another program: exact search is NumPy's matrix product and a partial sort, and an item counts as found where
its score, in double precision, is no lower than that of the 10th best.

`ann_recall_at_10` is the mean share of the 10 best items that are found. `ann_speedup` is the ratio of the
median milliseconds of a query that is asked alone, with the exact search and the index in turn; both may use
all cores. `ann_batch_speedup` is that of 256 queries in one call. `ann_distinct_vectors` says how many of
the items' embeddings differ: items that were never trained and have the same features share one.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from reporting import Figure, benchmark_parser, describe_versions, write_json
from whole_run import CONFIG, DSSM, set_options

from components.ann_document import AnnDocument
from components.ann_index.config import AnnConfig
from components.ann_index.logic import AnnInputs, build_ann
from components.ann_index.queries import embed_users
from components.ann_index.search import Ann, read_ann, search
from components.candidate_indexer.logic import read_index
from components.execution import MODEL_FOLDER
from components.towers import load_tower
from schemas.contract import USER_TOWER
from schemas.feature_parts import model_part
from schemas.features import FeatureSpec, load_feature_spec

K: Final = 10
RECALL_BAR, SPEEDUP_BAR = 0.95, 10.0
BATCH, SINGLE, TURNS = 256, 200, 5
SCHEMA: Final = "schemas/movielens_100k.yaml"
# Other than AnnConfig's own, so that other users are drawn.
SEED: Final = 12345
TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Scale:
    """How large the tables are."""

    interactions: int
    users: int
    items: int
    queries: int
    minimum_items: int


FULL: Final = Scale(5_000_000, 100_000, 1_000_000, queries=2_000, minimum_items=20_000)
QUICK: Final = Scale(20_000, 1_000, 3_000, queries=200, minimum_items=1_000)


def train(scale: Scale, folder: Path) -> Path:
    """Run the pipeline on drawn tables, without an index.

    Args:
        scale: The tables' size.
        folder: Gets the tables, the run and a release.

    Returns:
        The run's folder.
    """
    sizes = ("users", "items", "interactions")
    options = [part for name in sizes for part in (f"--{name}", str(getattr(scale, name)))]
    subprocess.run(
        [DSSM, "synth", *options, "--days", "90", "--output", folder / "data"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    settings = [
        f"data.directory={folder}/data",
        f"run.directory={folder}/runs",
        f"serving.directory={folder}/serving",
        "model.dim=64",
        "training.epochs=1",
        "training.per_replica_batch=2048",
        "training.learning_rate=2.0e-3",
        "evaluation.users=500",
        "evaluation.baselines=[]",
        "ann.kinds=[]",
    ]
    command = [str(DSSM), "run", "--config", CONFIG, *set_options(settings)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    # One that is not blessed is trained, too.
    if finished.returncode not in (0, 3):
        sys.exit(f"dssm run failed with exit status {finished.returncode}:\n{finished.stdout}")
    return folder / "runs"


def find_inputs(run: Path) -> AnnInputs:
    """Find the newest artifacts of a run.

    Args:
        run: Its folder.

    Returns:
        What AnnIndexer is given.
    """

    def find(step: str, output: str) -> Path:
        found = sorted((run / "artifacts" / step / output).glob("*"), key=lambda path: int(path.name))
        if not found:
            sys.exit(
                f"Expected {output} of {step} in {run}. Received: none. Name a run.directory with --run."
            )
        return found[-1]

    return AnnInputs(
        user_tower=find("Trainer", "model") / MODEL_FOLDER / USER_TOWER,
        index=find("CandidateIndexer", "index"),
        sequences=find("InteractionIngest", "sequences"),
    )


def search_by_product(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Find the best items as NumPy does it.

    Args:
        items: [items, dim].
        queries: [queries, dim].

    Returns:
        [queries, K] rows, best first.
    """
    scores = queries @ items.T
    rows = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, rows, axis=1), axis=1)
    return np.take_along_axis(rows, order, axis=1)


def measure_recall(ann: Ann, items: np.ndarray, queries: np.ndarray, block: int = 64) -> list[float]:
    """Measure the share of the best items that are found, query by query.

    Args:
        ann: The index.
        items: [items, dim].
        queries: [queries, dim].
        block: Queries that are scored exactly at a time.

    Returns:
        The share of each query.
    """
    shares = []
    found = search(ann, queries, K).items
    for start in range(0, len(queries), block):
        best = search_by_product(items, queries[start : start + block])
        for query, rows, exact in zip(queries[start:], found[start:], best, strict=False):
            worst = min(items[exact].astype(np.float64) @ query.astype(np.float64))
            scores = items[rows[rows >= 0]].astype(np.float64) @ query.astype(np.float64)
            shares.append(int(np.count_nonzero(scores >= worst - TOLERANCE)) / K)
    return shares


def measure_seconds(answer: Callable[[np.ndarray], object], batches: list[np.ndarray]) -> float:
    """Time calls.

    Args:
        answer: What is called.
        batches: Its argument in each call.

    Returns:
        The median of the seconds a call.
    """
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        answer(batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(
    inputs: AnnInputs, spec: FeatureSpec, scale: Scale, folder: Path
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Choose an index and measure it.

    Args:
        inputs: The artifacts of a run.
        spec: The features.
        scale: How many queries, and what counts as a large catalogue.
        folder: Gets the index.

    Returns:
        The figures, and what they were made of.
    """
    start = time.perf_counter()
    document = build_ann(inputs, folder, spec, AnnConfig(minimum_items=scale.minimum_items))
    build_seconds = time.perf_counter() - start
    index = read_index(inputs.index, [spec.item_id.name])
    items = np.array(index.embeddings)
    ann = read_ann(folder, items, index.model_id)
    tower = load_tower(inputs.user_tower, USER_TOWER)
    assert inputs.sequences is not None
    queries = embed_users(tower, inputs.sequences, index.catalogue, spec, scale.queries, SEED)
    shares = measure_recall(ann, items, queries)

    singles = [queries[row : row + 1] for row in range(min(SINGLE, len(queries)))]
    batches = [queries[:BATCH]]
    programs = {
        "exact": lambda batch: search_by_product(items, batch),
        "index": lambda batch: search(ann, batch, K),
    }
    raw: dict[str, Any] = {"single_ms": {}, "batch_ms": {}}
    for name, asked in (("single_ms", singles), ("batch_ms", batches)):
        times: dict[str, list[float]] = {program: [] for program in programs}
        for turn in range(TURNS):
            for program, answer in programs.items():
                part = asked if name == "batch_ms" else asked[turn::TURNS]
                measure_seconds(answer, part[:1])
                times[program].append(1000 * measure_seconds(answer, part))
        raw[name] = times
    raw |= {"document": describe(document), "recall_by_query": shares, "items": len(items)}
    return make_figures(shares, raw, items, build_seconds), raw


def describe(document: AnnDocument) -> dict[str, Any]:
    """Describe what was chosen, and what else was tried."""
    chosen = {"kind": document.kind, "parameters": document.parameters, "reason": document.reason}
    return chosen | {"tried": [vars(one) for one in document.tried]}


def make_figures(
    shares: list[float], raw: dict[str, Any], items: np.ndarray, build_seconds: float
) -> dict[str, Figure]:
    """Make the figures of the measurements."""

    def make_speedup(name: str, bar: float | None) -> Figure:
        ratios = [exact / ours for exact, ours in zip(raw[name]["exact"], raw[name]["index"], strict=True)]
        return Figure(statistics.median(ratios), "1", bar, lowest=min(ratios), highest=max(ratios))

    return {
        "ann_recall_at_10": Figure(statistics.mean(shares), "1", RECALL_BAR),
        "ann_speedup": make_speedup("single_ms", SPEEDUP_BAR),
        "ann_batch_speedup": make_speedup("batch_ms", None),
        "ann_exact_ms": Figure(statistics.median(raw["single_ms"]["exact"]), "ms"),
        "ann_index_ms": Figure(statistics.median(raw["single_ms"]["index"]), "ms"),
        "ann_step_seconds": Figure(build_seconds, "s"),
        "ann_distinct_vectors": Figure(
            len(np.unique(items.view(f"V{items.itemsize * items.shape[1]}"))), "1"
        ),
    }


def main() -> None:
    """Measure, print and write."""
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", help="a run that is there, in place of training"
    )
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="dssm-benchmark-") as temporary:
        run = arguments.run or train(scale, Path(temporary))
        spec = model_part(load_feature_spec(SCHEMA))
        figures, raw = measure(find_inputs(run), spec, scale, Path(temporary) / "ann")
    for name, figure in figures.items():
        bar = "" if figure.bar is None else f"  bar {figure.bar}"
        print(f"{name}  {figure.value:.4f} {figure.unit}{bar}")
    print(raw["document"])
    if arguments.json:
        write_json(arguments.json, figures, describe_versions(["numpy", "faiss-cpu", "tensorflow"]), raw)


if __name__ == "__main__":
    main()
