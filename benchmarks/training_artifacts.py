"""The rows of benchmarks/training.py as the ingest and the Transform steps leave them for the Trainer."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from training_data import Log

from schemas.contract import CATALOGUE_FILE, TRAIN_ROWS, TRAIN_SPLIT, VALIDATION_ROWS
from schemas.features import FeatureSpec
from schemas.sequences import FILE_NAME, SPLIT_ENDS, sequences_schema, write_sequences

FILES = 4


def write_artifacts(log: Log, spec: FeatureSpec, directory: Path) -> None:
    """Write sequences, the catalogue and real transform graphs.

    Args:
        log: The rows; all are train rows.
        spec: MovieLens' features.
        directory: Gets the folders `sequences`, `catalogue`, `user_graph` and `item_graph`.
    """
    users = {
        "user_id": _name("u", log.users["user_id"]),
        "age": 10 * log.users["age"],
        "gender": np.array(["F", "M"])[log.users["gender"]],
        "occupation": _name("o", log.users["occupation"]),
    }
    genres = [[f"g{genre}" for genre in row if genre >= 0] for row in log.items["genres"].tolist()]
    items = {"item_id": _name("i", log.items["item_id"]), "year": log.items["year"], "genres": genres}
    (directory / "catalogue").mkdir()
    catalogue = pa.table(items)
    pq.write_table(catalogue, directory / "catalogue" / CATALOGUE_FILE)

    (directory / "sequences").mkdir()
    user_table = pa.table(users)
    schema = sequences_schema(spec, has_weights=False)
    for number, block in enumerate(np.array_split(np.arange(len(user_table)), FILES)):
        begin, end = block[0], block[-1] + 1
        rows = slice(log.offsets[begin], log.offsets[end])
        offsets = pa.array(log.offsets[begin : end + 1] - log.offsets[begin], pa.int32())
        ids = catalogue["item_id"].combine_chunks().take(pa.array(log.item_of_row[rows]))
        seconds = np.arange(rows.start, rows.stop)
        table = user_table.slice(begin, len(block))
        for name, values in ((spec.item_id.name, ids), (spec.timestamp, pa.array(seconds))):
            table = table.append_column(name, pa.ListArray.from_arrays(offsets, values))
        for name in SPLIT_ENDS:
            table = table.append_column(name, pa.array(np.diff(offsets), pa.int32()))
        path = directory / "sequences" / FILE_NAME.format(number=number, files=FILES)
        write_sequences(table.select(schema.names).cast(schema), path)

    user_rows = np.diff(log.offsets)
    item_rows = np.bincount(log.item_of_row, minlength=len(genres))
    _write_graph(users | {TRAIN_ROWS: user_rows}, "user", spec, directory)
    _write_graph(items | {TRAIN_ROWS: item_rows}, "item", spec, directory)


def _write_graph(
    columns: Mapping[str, Any], tower: Literal["user", "item"], spec: FeatureSpec, directory: Path
) -> None:
    """Analyse a table as the Transform step does."""
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

    from schemas.metadata import build_schema
    from schemas.strict_config import to_json
    from trainer.preprocessing import preprocessing_fn

    settings = {"feature_spec": to_json(spec), "tower": tower, "counted_splits": [TRAIN_SPLIT]}
    table = pa.table({**columns, VALIDATION_ROWS: np.zeros(len(columns[TRAIN_ROWS]), np.int64)})
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=str(directory / "beam")),
    ):
        raw = pipeline | beam.Create(table.to_pylist(), reshuffle=False)
        function = functools.partial(preprocessing_fn, custom_config=settings)
        transform_fn = (raw, DatasetMetadata(build_schema(spec, tower))) | tft_beam.AnalyzeDataset(function)
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory / f"{tower}_graph"))


def _name(letter: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(letter, numbers.astype(str))
