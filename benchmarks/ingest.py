"""Speed and memory of InteractionIngest beside TFX's CsvExampleGen and a single-process Arrow program.

    .venv/bin/python benchmarks/ingest.py --json benchmarks/results/ingest.json

The programs run in turn, round after round, each in a process of its own that has done its imports before
the clock starts. A ratio is taken within a round; its figure is the median over the rounds, beside the lowest
and the highest. CsvExampleGen reads the joined rows as CSV. The Arrow program writes the same sequences,
users and items; in the first round they are compared with the component's. At 1,000,000 rows
the component mostly waits for TFX and Beam to start, so its bar beside the Arrow program is for 10,000,000.

Memory is the peak of the component's process above what it held before it started.
"""

import argparse
import importlib
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from reporting import Figure, benchmark_parser, describe_versions, write_json
from tabulate import tabulate

SCHEMA = "schemas/movielens_100k.yaml"
RUNNER = ("--runner=FnApiRunner",)
ROWS, LARGE_ROWS = 1_000_000, 10_000_000
QUICK_ROWS, QUICK_LARGE_ROWS = 5_000, 10_000
BYTES_BAR = 400.0
# What the processes have imported when they start.
PRELOADED = [
    "tensorflow",
    "tfx.components.example_gen.csv_example_gen.executor",
    "tfx_bsl.coders.example_coder",
    "components.interaction_ingest.component",
    "apache_beam.runners.portability.fn_api_runner",
    "arrow_ingest",
]

Measurement = dict[str, float]


def run_component(data: Path, output: Path) -> None:
    """Run InteractionIngest's executor, with latest_per_user as its split."""
    from components.execution import BeamContext
    from components.interaction_ingest.component import InteractionIngest
    from components.interaction_ingest.config import IngestConfig
    from components.interaction_ingest.executor import InteractionIngestExecutor
    from schemas.features import load_feature_spec

    spec = load_feature_spec(SCHEMA)
    component = InteractionIngest(spec, IngestConfig(), str(data))
    artifacts = {name: [channel.type()] for name, channel in component.outputs.items()}
    for name, [artifact] in artifacts.items():
        artifact.uri = str(output / name)
    context = BeamContext([*RUNNER])
    InteractionIngestExecutor(context).Do({}, artifacts, dict(component.exec_properties))


def run_csv_example_gen(data: Path, output: Path) -> None:
    """Run CsvExampleGen's executor, with its default splits."""
    from tfx.components import CsvExampleGen
    from tfx.components.example_gen.csv_example_gen.executor import Executor
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    component = CsvExampleGen(input_base=str(data / "csv"))
    examples = standard_artifacts.Examples()
    examples.uri = str(output / "examples")
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=[*RUNNER], tmp_dir=str(output / "tmp"), unique_id="1"
    )
    Executor(context).Do({}, {"examples": [examples]}, dict(component.exec_properties))


def run_arrow(data: Path, output: Path) -> None:
    """Run the Arrow program."""
    from arrow_ingest import write_arrow_sequences

    write_arrow_sequences(data, output)


PROGRAMS: dict[str, Callable[[Path, Path], None]] = {
    "csv_example_gen": run_csv_example_gen,
    "component": run_component,
    "arrow": run_arrow,
}


def measure(name: str, data: Path, output: Path) -> Measurement:
    """Run a program in a new process.

    Args:
        name: One of `PROGRAMS`.
        data: The folder of the tables.
        output: Gets the program's output; replaced.

    Returns:
        `seconds` of wall time, and `bytes`: its peak above the idle process.
    """
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    # A process forked from one that has imported everything has done so, too, and nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_send, args=(name, data, output, sender))
    process.start()
    sender.close()
    try:
        found: Measurement = receiver.recv()
    except EOFError:
        process.join()
        sys.exit(f"{name} failed with exit code {process.exitcode}; its message is above.")
    process.join()
    return found


def _run_and_send(name: str, data: Path, output: Path, sender: Any) -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    idle_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = time.perf_counter()
    PROGRAMS[name](data, output)
    seconds = time.perf_counter() - start
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sender.send({"seconds": seconds, "bytes": float(peak_bytes - idle_bytes)})


def write_joined_csv(data: Path) -> None:
    """Write the joined rows as a CSV file, genres as one text."""
    log = pq.read_table(data / "interactions.parquet", columns=["user_id", "item_id", "timestamp"])
    users = pq.read_table(data / "users.parquet", columns=["user_id", "age", "gender", "occupation"])
    items = pq.read_table(data / "items.parquet", columns=["item_id", "year", "genres"])
    texts = pc.binary_join(items["genres"].combine_chunks(), "|")
    items = items.set_column(2, "genres", texts).set_column(1, "year", items["year"].fill_null(0))
    joined = log.join(users, "user_id").join(items, "item_id")
    (data / "csv").mkdir()
    pyarrow.csv.write_csv(joined, data / "csv" / "interactions.csv")


def read_outputs(output: Path) -> dict[str, pa.Table]:
    """Read what a program wrote, without regard to files and order.

    Args:
        output: Holds sequences/, users/ and items/.

    Returns:
        Per output its rows in the order of their ids.
    """
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder()
    found = {}
    for name, id_name in (("users", "user_id"), ("items", "item_id")):
        files = sorted(str(path) for path in (output / name / "Split-all").iterdir())
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(8_192)
        batches = [decoder.DecodeBatch(list(batch.numpy())) for batch in records]
        table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches])
        ids = table[id_name].combine_chunks().flatten().cast(pa.string())
        order = pc.sort_indices(ids)
        # The order of the features within an example means nothing.
        found[name] = table.select(sorted(table.column_names)).take(order)
    sequences = pa.concat_tables([pq.read_table(path) for path in sorted((output / "sequences").iterdir())])
    return {**found, "sequences": sequences.sort_by("user_id")}


def compare_outputs(component: Path, arrow: Path) -> None:
    """Stop if the two programs did not write the same."""
    ours, theirs = read_outputs(component), read_outputs(arrow)
    different = [name for name in ours if ours[name].to_pylist() != theirs[name].to_pylist()]
    if different:
        sys.exit(f"The component and the Arrow program disagree in: {', '.join(different)}.")


def measure_all(
    arguments: argparse.Namespace, directory: Path
) -> tuple[dict[str, Figure], dict[str, list[Measurement]]]:
    """Run every program and make the figures.

    Args:
        arguments: The command line.
        directory: Where data and outputs go.

    Returns:
        The figures, and every measurement by program.
    """
    from pipeline.datasets.synthetic import write_synthetic

    rows, large_rows = (QUICK_ROWS, QUICK_LARGE_ROWS) if arguments.quick else (ROWS, LARGE_ROWS)
    data, large = directory / "data", directory / "large"
    users, items = (600, 400) if arguments.quick else (6_000, 4_000)
    write_synthetic(data, users=users, items=items, interactions=rows, days=90, seed=1)
    write_joined_csv(data)
    measured: dict[str, list[Measurement]] = {
        name: [] for name in (*PROGRAMS, "component_large", "arrow_large")
    }
    for number in range(1 if arguments.quick else arguments.rounds):
        for name in PROGRAMS:
            measured[name].append(measure(name, data, directory / name))
            print(f"round {number + 1}: {name} {measured[name][-1]['seconds']:.1f} s", flush=True)
        if number == 0:
            compare_outputs(directory / "component", directory / "arrow")
    for name in PROGRAMS:
        shutil.rmtree(directory / name)
    write_synthetic(large, users=10 * users, items=10 * items, interactions=large_rows, days=90, seed=1)
    for name in ("component", "arrow"):
        measured[f"{name}_large"].append(measure(name, large, directory / f"{name}_large"))
    files = (directory / "component_large" / "sequences").iterdir()
    disk_bytes = sum(path.stat().st_size for path in files) / large_rows

    figures = {
        name: compare(measured, other, own, bar)
        for name, other, own, bar in (
            ("ingest_vs_csv_example_gen", "csv_example_gen", "component", 8.0),
            ("ingest_vs_arrow_1m", "arrow", "component", None),
        )
    }
    small_bytes = [found["bytes"] / rows for found in measured["component"]]
    [large_found] = measured["component_large"]
    figures["bytes_per_interaction_1m"] = _spread(small_bytes, "bytes", None)
    figures["bytes_per_interaction_10m"] = Figure(
        large_found["bytes"] / large_rows, "bytes", BYTES_BAR, at_most=True
    )
    figures["disk_bytes_per_interaction_10m"] = Figure(disk_bytes, "bytes")
    figures["latest_per_user_10m"] = Figure(large_found["seconds"], "s")
    figures["ingest_vs_arrow"] = compare(measured, "arrow_large", "component_large", 0.5)
    for name in PROGRAMS:
        figures[f"{name}_rows_per_second"] = _spread(
            [rows / found["seconds"] for found in measured[name]], "rows/s", None
        )
    return figures, measured


def compare(measured: dict[str, list[Measurement]], other: str, own: str, bar: float | None) -> Figure:
    """Divide the seconds of one program by those of the other, round by round."""
    ratios = [
        theirs["seconds"] / ours["seconds"]
        for theirs, ours in zip(measured[other], measured[own], strict=True)
    ]
    return _spread(ratios, "1", bar)


def _spread(values: list[float], unit: str, bar: float | None) -> Figure:
    return Figure(statistics.median(values), unit, bar, lowest=min(values), highest=max(values))


def main() -> None:
    """Run from the command line."""
    parser = benchmark_parser("Speed and memory of the ingest.")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all programs (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where data and outputs go (default: temporary)")
    arguments = parser.parse_args()
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
    print(tabulate(table, ("figure", "value", "lowest", "highest", "bar", "unit"), floatfmt=",.2f"))
    if arguments.json:
        packages = ["tfx", "tfx-bsl", "tensorflow", "apache-beam", "pyarrow", "numpy"]
        write_json(arguments.json, figures, describe_versions(packages), raw=measured)
    missed = [name for name, figure in figures.items() if not figure.meets_bar]
    # On tiny data the start of a Beam pipeline is all there is to see.
    if missed and not arguments.quick:
        sys.exit("Misses the bar: " + ", ".join(f"{name} {figures[name].value:.2f}" for name in missed))


if __name__ == "__main__":
    main()
