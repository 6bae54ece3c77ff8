"""Exact evaluation of retrieval over the whole catalogue.

Every user of the eval split is one query. All catalogue items are ranked, except those that the
user has in the train or the validation split; an item that is held out stays in even then. The
baseline ranks by popularity in the same splits, all that was known before eval, whether or not the
model was trained again on both. The rank of a held-out
item is one more than the number of other ranked items whose score is at least its own, so a tie is
never an advantage.

With n held-out items of a user, of which those in the catalogue have the ranks r:

    Recall@K = #{r <= K} / min(K, n)
    NDCG@K   = sum over r <= K of 1 / log2(1 + r)  /  sum over i = 1..min(K, n) of 1 / log2(1 + i)
    MRR@K    = 1 / min(r) if min(r) <= K, else 0

(binary gains; Järvelin and Kekäläinen 2002 for NDCG). Each is averaged over the users.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.candidate_indexer.logic import IndexData, read_index
from components.retrieval_evaluator.config import EvaluationConfig
from components.towers import Tower, load_tower, refuse_non_finite
from schemas.contract import (
    BLESSED_FILE,
    EVALUATION_REPORT_FILE,
    NOT_BLESSED_FILE,
    PROGRESS_LOGGER,
    TRAIN_SPLIT,
    USER_TOWER,
    VALIDATION_SPLIT,
)
from schemas.errors import DataError, ReleaseError
from schemas.features import FeatureSpec

READ_ROWS = 65_536
# 64 MiB of float32 scores at a time.
BLOCK_SCORES = 2**24

ScoreBlock = Callable[[slice], np.ndarray]
"""Scores of the users of a slice: [block, items], larger is better, finite, and not used again by the
callee, since masked entries are overwritten."""


@dataclass(frozen=True)
class ItemSets:
    """A set of catalogue items for each user, in compressed rows."""

    offsets: np.ndarray
    """[users + 1] int64: user i has `items[offsets[i] : offsets[i + 1]]`."""
    items: np.ndarray
    """[pairs] int32: row numbers in the catalogue, distinct within a user."""

    @classmethod
    def from_pairs(cls, users: np.ndarray, items: np.ndarray, user_count: int) -> "ItemSets":
        """Group (user, item) pairs by user, each pair once.

        Args:
            users: [pairs] user numbers, 0 to `user_count` - 1.
            items: [pairs] row numbers in the catalogue.
            user_count: Number of users, those without a pair included.

        Returns:
            The sets.
        """
        width = int(np.max(items, initial=0)) + 1
        owners, distinct = np.divmod(np.unique(users.astype(np.int64) * width + items), width)
        offsets = np.searchsorted(owners, np.arange(user_count + 1))
        return cls(offsets=offsets, items=distinct.astype(np.int32))

    @property
    def user_count(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """[users] int64: the number of items of each user."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """[pairs] int64: the user of each item."""
        return np.repeat(np.arange(self.user_count), self.sizes)

    def of_users(self, users: slice) -> "ItemSets":
        """Return the sets of consecutive users.

        Args:
            users: A slice without a step.

        Returns:
            Their sets, the users numbered from 0.
        """
        start, stop, _ = users.indices(self.user_count)
        offsets = self.offsets[start : stop + 1]
        return ItemSets(offsets=offsets - offsets[0], items=self.items[offsets[0] : offsets[-1]])


def rank_targets(scores: np.ndarray, targets: ItemSets, seen: ItemSets) -> np.ndarray:
    """Rank each target among all items that the user has not seen and all the user's targets.

    Args:
        scores: [users, items], finite; masked entries are overwritten.
        targets: The held-out items.
        seen: The items left out of the ranking, unless they are targets.

    Returns:
        [targets] int64, from 1, in the order of `targets.items`: one more than the number of other
        ranked items with a score at least as large.

    Raises:
        ValueError: A score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("expected finite scores. Received: NaN or infinity among them")
    rows = targets.owners
    own_scores = scores[rows, targets.items]
    scores[seen.owners, seen.items] = -np.inf
    scores[rows, targets.items] = own_scores
    ranks = np.empty(len(rows), np.int64)
    sizes = targets.sizes
    for position in range(int(sizes.max(initial=0))):
        users = np.flatnonzero(sizes > position)
        pairs = targets.offsets[users] + position
        candidates = scores if len(users) == len(scores) else scores[users]
        # The target itself is among those counted, which makes the ranks start at 1.
        ranks[pairs] = np.count_nonzero(candidates >= own_scores[pairs, np.newaxis], axis=1)
    return ranks


def compute_metrics(
    ranks: np.ndarray, users: np.ndarray, held_out: np.ndarray, ks: Sequence[int]
) -> dict[str, float]:
    """Compute Recall@K, NDCG@K and MRR@K, averaged over users (formulas: see the module).

    Args:
        ranks: [targets] ranks, from 1, of the held-out items that are in the catalogue.
        users: [targets] the user of each, 0 to users - 1.
        held_out: [users] number of held-out items of each user, those outside the catalogue included.
        ks: The cut-offs.

    Returns:
        `recall_at_K`, `ndcg_at_K` and `mrr_at_K` for every K.

    Raises:
        ValueError: There is no user, or one has nothing held out.
    """
    user_count = len(held_out)
    if not user_count or (held_out < 1).any():
        raise ValueError("expected at least one user, each with at least one held-out item")
    best = np.full(user_count, np.inf)
    np.minimum.at(best, users, ranks)
    ideal = np.cumsum(1.0 / np.log2(2.0 + np.arange(max(ks))))
    metrics = {}
    for k in ks:
        reachable = np.minimum(k, held_out)
        hits = ranks <= k
        gains = np.where(hits, 1.0 / np.log2(1.0 + ranks), 0.0)
        recall = np.bincount(users, weights=hits, minlength=user_count) / reachable
        ndcg = np.bincount(users, weights=gains, minlength=user_count) / ideal[reachable - 1]
        reciprocal = np.where(best <= k, 1.0 / best, 0.0)
        metrics[f"recall_at_{k}"] = float(recall.mean())
        metrics[f"ndcg_at_{k}"] = float(ndcg.mean())
        metrics[f"mrr_at_{k}"] = float(reciprocal.mean())
    return metrics


def evaluate_scores(
    score_block: ScoreBlock,
    targets: ItemSets,
    seen: ItemSets,
    item_count: int,
    ks: Sequence[int],
    unreachable: np.ndarray | None = None,
    block_scores: int = BLOCK_SCORES,
) -> dict[str, float]:
    """Evaluate anything that scores all items for some users, a block of users at a time.

    A matrix of scores is evaluated with `lambda users: matrix[users].copy()`.

    Args:
        score_block: Called with consecutive slices of users; returns [block, items].
        targets: The held-out items that are in the catalogue.
        seen: The items masked for each user, unless they are targets.
        item_count: Number of items.
        ks: The cut-offs.
        unreachable: [users] number of held-out items outside the catalogue, which count as missed.
        block_scores: Scores per block, which bounds the memory: a block has this many divided by
            `item_count` users, and at least one.

    Returns:
        The metrics of `compute_metrics`.

    Raises:
        ValueError: A score is not finite, or a user has nothing held out.
    """
    block = max(1, block_scores // max(1, item_count))
    ranks = [np.empty(0, np.int64)]
    for start in range(0, targets.user_count, block):
        users = slice(start, min(start + block, targets.user_count))
        ranks.append(rank_targets(score_block(users), targets.of_users(users), seen.of_users(users)))
    held_out = targets.sizes if unreachable is None else targets.sizes + unreachable
    return compute_metrics(np.concatenate(ranks), targets.owners, held_out, ks)


def read_examples(
    split: Path, types: dict[str, str], list_names: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read some columns of the gzip TFRecords of tf.Example in a split, in file and row order.

    Args:
        split: The split's folder; files are read in the order of their names.
        types: The columns to decode, each `string`, `int` or `float`.
        list_names: The columns that hold lists; every other one holds one value per row.

    Yields:
        Batches of up to 65,536 rows: large_binary, int64 or float32, or large lists of them.

    Raises:
        DataError: There is no file, or a column has not exactly one value in every row.
    """
    files = sorted(str(path) for path in split.glob("*.gz"))
    if not files:
        raise DataError(f"Expected examples (*.gz) in {split}. Received: none. Run InteractionIngest again.")
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    schema = schema_pb2.Schema()
    kinds = {"string": schema_pb2.BYTES, "int": schema_pb2.INT, "float": schema_pb2.FLOAT}
    for name, kind in types.items():
        schema.feature.add(name=name, type=kinds[kind])
    decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())
    records = tf.data.TFRecordDataset(files, compression_type="GZIP", buffer_size=8 << 20)
    for serialized in records.batch(READ_ROWS).as_numpy_iterator():
        batch = decoder.DecodeBatch(serialized.tolist())
        columns = [
            batch.column(name) if name in list_names else _single_values(batch.column(name), name)
            for name in batch.schema.names
        ]
        yield pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


@dataclass(frozen=True)
class EvaluationData:
    """The eval split as queries and targets, with what the splits before it say about them."""

    user_ids: pa.Array
    """[users] large_binary, in the order in which the users first appear in the eval split."""
    queries: pa.Table
    """[users] what the user tower reads, from each user's earliest eval row."""
    targets: ItemSets
    """The held-out items that are in the catalogue."""
    unreachable: np.ndarray
    """[users] int64: the number of distinct held-out items outside the catalogue."""
    seen: ItemSets
    """The items that the users have in the splits before."""
    popularity: np.ndarray
    """[items] float32: the number of rows with each item in the splits before."""


def read_evaluation_data(
    known: Sequence[Path],
    evaluation: Path,
    catalogue_ids: pa.Array,
    features: FeatureSpec,
    tower_inputs: Sequence[str],
) -> EvaluationData:
    """Turn the splits into queries, targets, masks and popularity.

    All are read in batches: of the splits before eval only ids are decoded and only the eval users' items
    kept, and of the eval split only the first rows' features.

    Args:
        known: Folders of the splits before eval: train and, where there is one, validation.
        evaluation: Folder of the eval split.
        catalogue_ids: [items] string ids in the order of the index.
        features: The features.
        tower_inputs: The raw features that the user tower reads; no other is given to it.

    Returns:
        The data, the users in the order in which they first appear.

    Raises:
        DataError: A split is missing or has no row.
        ReleaseError: The user tower reads something that is not in the examples.
    """
    user, item, timestamp = features.user_id.name, features.item_id.name, features.timestamp
    catalogue_ids = catalogue_ids.cast(pa.large_binary())
    rows = pa.Table.from_batches(
        read_examples(evaluation, {user: "string", item: "string", timestamp: "int"}),
        pa.schema([(user, pa.large_binary()), (item, pa.large_binary()), (timestamp, pa.int64())]),
    )
    if not rows.num_rows:
        raise DataError(
            f"Expected at least one held-out interaction in {evaluation}. Received: none. "
            "Choose an ingest.split that leaves some."
        )
    encoded = rows[user].combine_chunks().dictionary_encode()
    user_ids, users = encoded.dictionary, encoded.indices.to_numpy()
    items = _look_up(rows[item].combine_chunks(), catalogue_ids)

    listed = items >= 0
    missing = pa.table({"user": users[~listed], "item": rows[item].filter(pa.array(~listed))})
    missing_users = missing.group_by(["user", "item"]).aggregate([])["user"].to_numpy()

    by_time = np.lexsort((np.arange(len(users)), rows[timestamp].to_numpy(), users))
    earliest = by_time[np.unique(users[by_time], return_index=True)[1]]

    seen_users, seen_items = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    popularity = np.zeros(len(catalogue_ids), np.int64)
    for batch in chain.from_iterable(
        read_examples(split, {user: "string", item: "string"}) for split in known
    ):
        batch_users = _look_up(batch.column(user), user_ids)
        batch_items = _look_up(batch.column(item), catalogue_ids)
        popularity += np.bincount(batch_items[batch_items >= 0], minlength=len(catalogue_ids))
        keep = (batch_users >= 0) & (batch_items >= 0)
        seen_users.append(batch_users[keep])
        seen_items.append(batch_items[keep])

    user_count = len(user_ids)
    return EvaluationData(
        user_ids=user_ids,
        queries=_read_queries(evaluation, earliest, features, tower_inputs),
        targets=ItemSets.from_pairs(users[listed], items[listed], user_count),
        unreachable=np.bincount(missing_users, minlength=user_count),
        seen=ItemSets.from_pairs(np.concatenate(seen_users), np.concatenate(seen_items), user_count),
        popularity=popularity.astype(np.float32),
    )


def evaluate_model(
    train: Path,
    evaluation: Path,
    user_tower: Path,
    index: Path,
    features: FeatureSpec,
    config: EvaluationConfig,
    validation: Path | None = None,
) -> dict[str, Any]:
    """Evaluate a user tower against an index and the popularity baseline, and decide on the blessing.

    Args:
        train: Folder of the train split of the raw examples.
        evaluation: Folder of the eval split of the raw examples.
        user_tower: The user tower's SavedModel.
        index: The candidate index.
        features: The features.
        config: The cut-offs and the blessing's rule.
        validation: Folder of the validation split of the raw examples; None where there is none.

    Returns:
        The report: `metrics`, `popularity` (the same keys), `users`, `held_out`,
        `held_out_not_in_catalogue`, `catalogue_items`, `seen_splits` (those whose items are left out of the
        ranking and count for popularity), `model_id`, `blessed` and `blessing`. The model is blessed where
        the metric is above popularity's and at least the minimum.

    Raises:
        DataError: A split has no rows.
        ReleaseError: The tower and the index come from different trainings.
        TrainingError: A user's embedding is not finite.
    """
    tower = load_tower(user_tower, USER_TOWER)
    candidates = read_index(index, columns=[features.item_id.name])
    _refuse_mixed(tower, candidates)
    known = {TRAIN_SPLIT: train} | ({} if validation is None else {VALIDATION_SPLIT: validation})
    data = read_evaluation_data(
        list(known.values()),
        evaluation,
        candidates.catalogue[features.item_id.name].combine_chunks(),
        features,
        list(tower.inputs),
    )
    user_embeddings = tower.embed(data.queries)
    refuse_non_finite(user_embeddings, data.user_ids.cast(pa.large_string()).to_pylist(), "users")
    item_embeddings = np.asarray(candidates.embeddings).T
    item_count = len(data.popularity)

    def evaluate(score_block: ScoreBlock) -> dict[str, float]:
        return evaluate_scores(score_block, data.targets, data.seen, item_count, config.ks, data.unreachable)

    metrics = evaluate(lambda users: user_embeddings[users] @ item_embeddings)
    popularity = evaluate(lambda users: np.tile(data.popularity, (users.stop - users.start, 1)))

    name = config.blessing_metric
    blessed = metrics[name] > popularity[name] and metrics[name] >= config.blessing_minimum
    not_in_catalogue = int(data.unreachable.sum())
    report = {
        "metrics": metrics,
        "popularity": popularity,
        "users": data.targets.user_count,
        "held_out": len(data.targets.items) + not_in_catalogue,
        "held_out_not_in_catalogue": not_in_catalogue,
        "catalogue_items": item_count,
        "seen_splits": list(known),
        "model_id": tower.model_id,
        "blessed": blessed,
        "blessing": {
            "metric": name,
            "value": metrics[name],
            "popularity": popularity[name],
            "minimum": config.blessing_minimum,
        },
    }
    _log(report)
    return report


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write the report as JSON.

    Args:
        report: What `evaluate_model` returned.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATION_REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_blessing(blessed: bool, folder: Path) -> None:
    """Write the file that says whether the model may be released.

    Args:
        blessed: The verdict.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # One byte, since some object stores and copies lose empty files.
    (folder / (BLESSED_FILE if blessed else NOT_BLESSED_FILE)).write_text("\n", encoding="utf-8")


def _single_values(column: pa.Array, name: str) -> pa.Array:
    values = column.flatten()
    if len(values) != len(column) or pc.any(pc.not_equal(pc.list_value_length(column), 1)).as_py():
        raise DataError(
            f"Column {name!r} of the examples: expected one value in every row. Received: other numbers."
        )
    return values


def _look_up(values: pa.Array, value_set: pa.Array) -> np.ndarray:
    found = pc.index_in(values, value_set=value_set)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _read_queries(
    evaluation: Path, rows: np.ndarray, features: FeatureSpec, tower_inputs: Sequence[str]
) -> pa.Table:
    types = {feature.name: feature.dtype for feature in features.features}
    list_names = [feature.name for feature in features.features if feature.is_list]
    if features.history is not None:
        history = features.history
        types[history.name] = "string"
        types |= {history.feature_column(one.name): one.dtype for one in features.history_features}
        if history.gap_column in history.columns:
            types[history.gap_column] = "int"
        list_names += history.columns
    unknown = sorted(set(tower_inputs) - set(types))
    if unknown:
        raise ReleaseError(
            f"The user tower reads {unknown}, which the schema {features.name!r} does not have. "
            "Evaluate it with the schema it was trained with."
        )
    # Rows are read in file order, then put back into the order of the users.
    in_file_order = np.argsort(rows)
    wanted = rows[in_file_order]
    start, tables = 0, []
    for batch in read_examples(evaluation, {name: types[name] for name in tower_inputs}, list_names):
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        tables.append(pa.Table.from_batches([batch.take(pa.array(wanted[low:high] - start))]))
        start += batch.num_rows
    return pa.concat_tables(tables).take(pa.array(np.argsort(in_file_order)))


def _refuse_mixed(tower: Tower, index: IndexData) -> None:
    if tower.model_id != index.model_id:
        raise ReleaseError(
            f"The user tower comes from training {tower.model_id!r} and the index from {index.model_id!r}: "
            "their embeddings cannot be compared. Index the catalogue again with the towers of one training."
        )


def _log(report: dict[str, Any]) -> None:
    progress = logging.getLogger(PROGRESS_LOGGER)
    progress.info(
        "Evaluated %s users with %s held-out interactions over all %s items: %s.",
        f"{report['users']:,}",
        f"{report['held_out']:,}",
        f"{report['catalogue_items']:,}",
        ", ".join(
            f"{name.replace('_at_', '@')} {value:.4f} (popularity {report['popularity'][name]:.4f})"
            for name, value in report["metrics"].items()
        ),
    )
    if VALIDATION_SPLIT in report["seen_splits"]:
        progress.info(
            "What the users have in %s is left out of the ranking.", " and ".join(report["seen_splits"])
        )
    if report["held_out_not_in_catalogue"]:
        progress.info(
            "%s held-out items are not in the catalogue and count as missed.",
            f"{report['held_out_not_in_catalogue']:,}",
        )
    blessing = report["blessing"]
    progress.info(
        "%s: %s %.4f, popularity %.4f, minimum %.4f.",
        "Blessed" if report["blessed"] else "Not blessed",
        blessing["metric"].replace("_at_", "@"),
        blessing["value"],
        blessing["popularity"],
        blessing["minimum"],
    )
