"""The artifacts of the ingest and of Transform into the arrays of a training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.contract import (
    CATALOGUE_FILE,
    TRAIN_END,
    TRAIN_SPLIT,
    VALIDATION_END,
    VALIDATION_SPLIT,
    WEIGHT,
)
from schemas.errors import DataError
from schemas.features import Feature, FeatureSpec
from schemas.sequences import (
    SPLIT_ENDS,
    SequencesPart,
    SplitEnd,
    count_positions,
    list_sequence_files,
    read_sequences,
)
from trainer.data.batches import TrainingData
from trainer.data.entities import history_table, transform_table
from trainer.data.gaps import learn_gap_boundaries
from trainer.data.sequences import FlatSequences, Rows
from trainer.data.transform_graphs import TransformGraphs

_ITEMS_PER_BATCH: Final = 65_536
_NO_TRAIN: Final = "Choose an ingest.split, and ingest.validation_days, that leave some, or give more data."
_NO_VALIDATION: Final = (
    "Run the ingest with ingest.validation: true and an ingest.split and ingest.validation_days that leave "
    "some, or set training.early_stopping to null, which alone reads it."
)


@dataclass(frozen=True)
class InputFolders:
    """Where the artifacts are that a training is made from; local paths."""

    sequences: str
    """The ingest's `sequences`."""
    catalogue: str
    """The ingest's `catalogue`."""
    graphs: TransformGraphs
    """The transform graphs."""


def load_training_data(
    folders: InputFolders, spec: FeatureSpec, *, read_validation: bool, fits_validation: bool
) -> TrainingData:
    """Load everything that a training reads.

    Args:
        folders: Where it is.
        spec: The features.
        read_validation: Whether the validation split is read.
        fits_validation: Whether the quantiles of the time gaps are those of train and validation together, as
            what the transform graphs learnt then is.

    Returns:
        The arrays.

    Raises:
        DataError: A file is missing, lacks a column or a value, a split that is wanted has no row, or the
            sequences and the catalogue do not belong together.
    """
    ids, items = _read_items(Path(folders.catalogue), spec, folders.graphs.item)
    reader = _SequencesReader(
        Path(folders.sequences), spec, ids, VALIDATION_END if read_validation else TRAIN_END
    )
    users = reader.read(folders.graphs.user)
    sequences = reader.sequences(folders.graphs)
    begins = sequences.offsets[:-1]
    train = Rows.between(begins, reader.ends[TRAIN_END])
    validation = (
        Rows.between(reader.ends[TRAIN_END], reader.ends[VALIDATION_END]) if read_validation else None
    )
    for name, rows, remedy in (
        (TRAIN_SPLIT, train, _NO_TRAIN),
        (VALIDATION_SPLIT, validation, _NO_VALIDATION),
    ):
        if rows is not None and not len(rows):
            raise DataError(
                f"Expected rows of the split {name} in {folders.sequences}. Received: none. {remedy}"
            )
    history = spec.history
    boundaries = None
    if history is not None and history.time_gap_buckets is not None:
        counted = Rows.between(begins, reader.ends[VALIDATION_END]) if fits_validation else train
        boundaries = learn_gap_boundaries(sequences, counted, history.length, history.time_gap_buckets)
    return TrainingData(
        sequences=sequences,
        users=users,
        items=items,
        item_count=len(ids),
        train=train,
        validation=validation,
        history_items=history_table(items, spec),
        gap_boundaries=boundaries,
    )


def _read_items(folder: Path, spec: FeatureSpec, graph: str) -> tuple[pa.Array, dict[str, np.ndarray]]:
    features = spec.tower_features("item")
    names = list(dict.fromkeys([spec.item_id.name, *(feature.name for feature in features)]))
    path = folder / CATALOGUE_FILE
    if not path.is_file():
        raise DataError(
            f"Expected the catalogue {path}. Received: no such file. Give the ingest's artifact "
            "catalogue, or run the ingest again."
        )
    with pq.ParquetFile(path) as file:
        missing = sorted(set(names) - set(file.schema_arrow.names))
        if missing or not file.metadata.num_rows:
            received = f"no {', '.join(missing)}" if missing else "no item"
            raise DataError(
                f"Catalogue {folder}: expected at least one item with {', '.join(names)}. Received: "
                f"{received}. Run the ingest again with the schema of this training."
            )
        ids: list[pa.Array] = []

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in file.iter_batches(batch_size=_ITEMS_PER_BATCH, columns=names):
                ids.append(batch.column(spec.item_id.name))
                yield batch

        items = transform_table(batches(), features, graph)
    return pa.concat_arrays(ids), items


class _SequencesReader:
    """Reads the sequences into arrays of the size that they end up with."""

    def __init__(self, folder: Path, spec: FeatureSpec, item_ids: pa.Array, until: SplitEnd) -> None:
        self._folder, self._spec, self._item_ids, self._until = folder, spec, item_ids, until
        names = pq.read_schema(list_sequence_files(folder)[0]).names
        users, positions = count_positions(folder, until)
        history = spec.history
        self._items = np.empty(positions, np.int32)
        self._lists: dict[str, npt.NDArray] = {}
        if history is not None and history.time_gap_buckets is not None:
            self._lists[spec.timestamp] = np.empty(positions, np.int64)
        if WEIGHT in names:
            self._lists[WEIGHT] = np.empty(positions, np.float32)
        self._offsets = np.zeros(users + 1, np.int64)
        self.ends = {name: np.empty(users, np.int64) for name in SPLIT_ENDS}
        """By split, [users]: the position before which it ends; known once all is read."""

    def read(self, user_graph: str) -> dict[str, np.ndarray]:
        """Fill the arrays, and transform the users on the way."""
        features = [f for f in self._spec.table_features("user") if f.encoding is not None]
        parts = self._fill([feature.name for feature in features])
        if not features:
            for _ in parts:
                continue
            return {}
        return transform_table(
            (batch for part in parts for batch in part.users.to_batches()), features, user_graph
        )

    def sequences(self, graphs: TransformGraphs) -> FlatSequences:
        """Give what was read, and read the context features."""
        return FlatSequences(
            offsets=self._offsets,
            items=self._items,
            seconds=self._lists.get(self._spec.timestamp),
            weights=self._lists.get(WEIGHT),
            contexts=self._read_contexts(graphs),
        )

    def _parts(self, users: Sequence[str], lists: Sequence[str]) -> Iterator[SequencesPart]:
        return read_sequences(
            self._folder,
            self._spec,
            self._item_ids,
            user_columns=users,
            position_columns=lists,
            until=self._until,
        )

    def _fill(self, user_columns: Sequence[str]) -> Iterator[SequencesPart]:
        user = position = 0
        for part in self._parts(user_columns, list(self._lists)):
            users, positions = len(part.offsets) - 1, len(part.items)
            self._offsets[user + 1 : user + users + 1] = position + part.offsets[1:]
            for name, ends in self.ends.items():
                ends[user : user + users] = position + part.ends[name]
            self._items[position : position + positions] = part.items
            for name, values in self._lists.items():
                values[position : position + positions] = part.columns.column(name).to_numpy()
            user, position = user + users, position + positions
            yield part

    def _read_contexts(self, graphs: TransformGraphs) -> dict[str, np.ndarray]:
        features: list[Feature] = [
            feature for feature in self._spec.table_features("context") if feature.encoding is not None
        ]
        if not features:
            return {}
        parts = self._parts([], [feature.name for feature in features])
        return transform_table(
            (batch for part in parts for batch in part.columns.to_batches()),
            features,
            graphs.folder("context"),
        )
