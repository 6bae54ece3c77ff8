"""Embeddings of the trained towers for a sample, with what a server would be asked for the same.

The embeddings go the way of training: transformed tables, gathers, towers in memory. The raw inputs are put
together from the files of the ingest by code of their own, so that a fault in either way is a difference.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from schemas.contract import CATALOGUE_FILE, GAP_PADDING, HISTORY_PADDING
from schemas.features import Feature, FeatureSpec, History
from schemas.sequences import list_sequence_files, value_type
from schemas.skew import TowerSample, sample_file, write_tower_sample
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.load import InputFolders
from trainer.data.sequences import Rows, count_items
from trainer.towers import Towers

MOST_QUERIES: Final = 64
MOST_ITEMS: Final = 256
_EDGE_QUERIES: Final = 4
_UNTRAINED_ITEMS: Final = 64
_PADDING: Final = {"string": HISTORY_PADDING, "int": 0, "float": 0.0}
_TYPES: Final = {"string": pa.string(), "int": pa.int64(), "float": pa.float32()}


def write_skew_sample(
    towers: Towers, data: TrainingData, inputs: InputFolders, spec: FeatureSpec, folder: Path, seed: int = 0
) -> dict[str, int]:
    """Write the samples of both towers, as `schemas.skew` describes them.

    Args:
        towers: The trained towers.
        data: What they were trained on.
        inputs: The artifacts that it was loaded from.
        spec: The features.
        folder: The folder of the samples.
        seed: Of the draw.

    Returns:
        The numbers of `users` and `items`.
    """
    users, positions = choose_queries(data.train, seed)
    catalogue = Path(inputs.catalogue) / CATALOGUE_FILE
    user = TowerSample(
        *_read_queries(
            Path(inputs.sequences), catalogue, spec, users, positions - data.sequences.offsets[users]
        ),
        embeddings=_embed_queries(towers, data, spec, users, positions),
    )
    items = choose_items(count_items(data.sequences, data.train, data.item_count), seed)
    item = TowerSample(
        *_read_items(catalogue, spec, items),
        embeddings=towers.item(
            {name: tf.constant(values[items]) for name, values in data.items.items()}, training=False
        ).numpy(),
    )
    for part, sample in (("user", user), ("item", item)):
        write_tower_sample(sample, sample_file(folder, part))
    return {"users": len(user.ids), "items": len(item.ids)}


def choose_queries(train: Rows, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose train rows: the newest of some users, also of the longest sequences, and some first ones.

    Args:
        train: The train rows.
        seed: Of the draw.

    Returns:
        [queries] users and [queries] positions, ascending and each once; no more than `MOST_QUERIES`. The
        first row of a user, with an empty history, is always among them.
    """
    lengths = np.diff(train.offsets)
    users = np.flatnonzero(lengths)
    drawn = _draw(users, MOST_QUERIES - 2 * _EDGE_QUERIES, seed)
    edge = min(_EDGE_QUERIES, len(users))
    longest = users[np.argpartition(-lengths[users], edge - 1)[:edge]]
    newest = np.union1d(drawn, longest)
    pairs = {
        *zip(newest.tolist(), (train.ends[newest] - 1).tolist(), strict=True),
        *zip(drawn[:edge].tolist(), train.begins[drawn[:edge]].tolist(), strict=True),
    }
    chosen = np.array(sorted(pairs), np.int64)
    return chosen[:, 0], chosen[:, 1]


def choose_items(train_counts: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Choose items, some of which no train row holds, where there are such.

    Args:
        train_counts: [items] train rows of each item.
        seed: Of the draw.

    Returns:
        Rows in the catalogue, ascending; no more than `MOST_ITEMS`.
    """
    untrained = _draw(np.flatnonzero(train_counts == 0), _UNTRAINED_ITEMS, seed)
    trained = _draw(np.flatnonzero(train_counts), MOST_ITEMS - len(untrained), seed)
    return np.union1d(untrained, trained)


def _draw(population: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    numbers = np.random.default_rng(seed).choice(len(population), min(count, len(population)), replace=False)
    return population[np.sort(numbers)]


def _embed_queries(
    towers: Towers,
    data: TrainingData,
    spec: FeatureSpec,
    users: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Embed the rows by a batch out of the sampled users' arrays alone: those of all are large."""
    distinct, numbers = np.unique(users, return_inverse=True)
    sequences = data.sequences
    own = Rows.between(sequences.offsets[distinct], sequences.offsets[distinct + 1])
    of_users = own.positions()
    cut = dataclasses.replace(
        data,
        sequences=dataclasses.replace(
            sequences,
            offsets=own.offsets,
            items=sequences.items[of_users],
            seconds=None if sequences.seconds is None else sequences.seconds[of_users],
            weights=None,
            contexts={name: values[of_users] for name, values in sequences.contexts.items()},
        ),
        users={name: values[distinct] for name, values in data.users.items()},
    )
    within = positions - sequences.offsets[users] + own.offsets[numbers]
    batch = BatchMaker(cut, spec).gather(tf.constant(numbers), tf.constant(within))
    return towers.user(batch[FEATURES], training=False).numpy()


def _read_queries(
    sequences: Path,
    catalogue: Path,
    spec: FeatureSpec,
    users: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
) -> tuple[list[str], str, pa.Table]:
    """Read the users' ids, the name of their column, and the raw inputs at positions in their lists."""
    features = spec.tower_features("user")
    item_id = spec.item_id.name
    names = [spec.user_id.name, *(feature.name for feature in features), item_id, spec.timestamp]
    distinct, numbers = np.unique(users, return_inverse=True)
    read = _take_rows(list_sequence_files(sequences), distinct, names, [f"{item_id}.list.element"])
    rows = [read[number] for number in numbers]
    is_context = {feature.name: feature.tower == "context" for feature in features}
    columns: dict[str, list[Any]] = {
        name: [
            row[name][position] if of_context else row[name]
            for row, position in zip(rows, positions, strict=True)
        ]
        for name, of_context in is_context.items()
    }
    types = {feature.name: value_type(feature) for feature in features}
    if spec.history is not None:
        starts = np.maximum(positions - spec.history.length, 0)
        ranges = list(zip(rows, starts, positions, strict=True))
        past = [row[item_id][start:end] for row, start, end in ranges]
        times = [row[spec.timestamp] for row in rows]
        gaps = [
            [time[end] - each for each in time[start:end]]
            for time, (_, start, end) in zip(times, ranges, strict=True)
        ]
        table = _read_history_items(catalogue, spec, {name for names in past for name in names})
        columns |= _compose_histories(past, gaps, table, spec, spec.history)
        types |= _history_types(spec, spec.history)
    ids = [row[spec.user_id.name] for row in rows]
    return ids, spec.user_id.name, _to_table(columns, types)


def _read_items(
    catalogue: Path, spec: FeatureSpec, items: npt.NDArray[np.int64]
) -> tuple[list[str], str, pa.Table]:
    features = spec.tower_features("item")
    rows = _take_rows([catalogue], items, [spec.item_id.name, *(feature.name for feature in features)])
    columns = {feature.name: [row[feature.name] for row in rows] for feature in features}
    types = {feature.name: value_type(feature) for feature in features}
    return [row[spec.item_id.name] for row in rows], spec.item_id.name, _to_table(columns, types)


def _read_history_items(catalogue: Path, spec: FeatureSpec, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Read the features of the items of histories, by id."""
    names = [feature.name for feature in spec.history_features]
    if not names:
        return {}
    every = pq.read_table(catalogue, columns=[spec.item_id.name]).column(0)
    wanted = np.flatnonzero(pc.is_in(every, value_set=pa.array(sorted(ids), every.type)).to_numpy())
    rows = _take_rows([catalogue], wanted, [spec.item_id.name, *names])
    return {row[spec.item_id.name]: row for row in rows}


def _compose_histories(
    past: Sequence[Sequence[str]],
    gaps: Sequence[Sequence[int]],
    items: Mapping[str, Mapping[str, Any]],
    spec: FeatureSpec,
    history: History,
) -> dict[str, list[Any]]:
    """Pad histories on the left, and put beside them what their items have, as a client of a server does."""
    missing = [history.length - len(names) for names in past]
    pairs = list(zip(past, missing, strict=True))
    columns: dict[str, list[Any]] = {
        history.name: [[HISTORY_PADDING] * count + list(names) for names, count in pairs]
    }
    for feature in spec.history_features:
        values = [[items[name][feature.name] for name in names] for names in past]
        columns[history.feature_column(feature.name)] = [
            _fill(each, count, feature, history) for each, count in zip(values, missing, strict=True)
        ]
    if history.time_gap_buckets is not None:
        columns[history.gap_column] = [
            [GAP_PADDING] * count + list(each) for each, count in zip(gaps, missing, strict=True)
        ]
    return columns


def _fill(values: Sequence[Any], missing: int, feature: Feature, history: History) -> list[Any]:
    """Lay out what the items of a history have, row-major, after the padding of those that are not there."""
    padding = _PADDING[feature.dtype]
    if feature.multi_valued:
        width = history.values_per_item
        texts = [[text for text in value or () if text] for value in values]
        values = [[*each, *[padding] * width][:width] for each in texts]
    elif feature.length is not None:
        width = feature.length
    else:
        return [padding] * missing + list(values)
    return [padding] * (missing * width) + [entry for value in values for entry in value]


def _history_types(spec: FeatureSpec, history: History) -> dict[str, pa.DataType]:
    types = {history.name: pa.list_(pa.string())}
    types |= {
        history.feature_column(feature.name): pa.list_(_TYPES[feature.dtype])
        for feature in spec.history_features
    }
    return types | ({} if history.time_gap_buckets is None else {history.gap_column: pa.list_(pa.int64())})


def _to_table(columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def _take_rows(
    files: Sequence[Path],
    numbers: npt.NDArray[np.int64],
    columns: Sequence[str],
    dictionaries: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Read some rows of files that stand one after the other, a column of a row group at a time.

    Args:
        files: The files.
        numbers: Numbers of the rows, ascending.
        columns: What to read.
        dictionaries: Columns whose values repeat, and so are held once.

    Returns:
        [numbers] the rows by column.
    """
    names = list(dict.fromkeys(columns))
    rows: list[dict[str, Any]] = []
    first = 0
    for path in files:
        with pq.ParquetFile(path, read_dictionary=list(dictionaries)) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                here = pa.array(numbers[(numbers >= first) & (numbers < first + count)] - first)
                first += count
                if len(here):
                    taken = [
                        file.read_row_group(group, columns=[name]).column(0).take(here) for name in names
                    ]
                    values = [column.to_pylist() for column in taken]
                    rows += [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return rows
