"""Rows in, ids and embeddings out: the tower of a release, and the histories that it reads."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.candidate_indexer.logic import read_index
from components.towers import BATCH_ROWS, Tower, load_tower, refuse_non_finite
from pipeline.embed.histories import HistoryJoin, read_known_histories
from pipeline.embed.table import InputTable
from schemas.contract import EMBEDDING_OUTPUT
from schemas.features import FeatureSpec


@dataclass(frozen=True)
class Model:
    """What of a release embeds a table, by the folders of its parts; a worker loads it from there."""

    spec: FeatureSpec
    """The features."""
    part: str
    """`user_tower` or `item_tower`."""
    tower: Path
    """The tower's SavedModel."""
    index: Path | None = None
    """The index, whose catalogue the histories are looked up in; None for a tower that reads none."""
    users: Path | None = None
    """The users' sequences; None where the release has none."""
    now: int | None = None
    """Seconds since 1970 up to which the time since each interaction is counted; None: the newest
    interaction that the release knows."""


class Embedder:
    """Embeds tables with one tower."""

    def __init__(self, tower: Tower, histories: HistoryJoin | None, batch_rows: int = BATCH_ROWS) -> None:
        """Take the parts.

        Args:
            tower: The tower.
            histories: Finds the histories that it reads; None where it reads none.
            batch_rows: Rows per call of the tower.
        """
        self._tower, self._histories, self._batch_rows = tower, histories, batch_rows

    def embed(self, rows: pa.Table, table: InputTable) -> tuple[pa.Table, Counter[str]]:
        """Embed rows, in batches of one size.

        Args:
            rows: [rows] as `read_rows` gives them, without a missing value.
            table: What they are of.

        Returns:
            [rows] the id and the embedding, in the order of the rows; and how many have a history of which
            kind.

        Raises:
            ConfigError: Histories have times, and nothing says up to which time to count.
            TrainingError: An embedding is not finite.
        """
        rows = rows.combine_chunks()
        ids = rows[table.id_feature.name].combine_chunks()
        joined, counts = None, Counter[str]()
        if self._histories is not None:
            given, seconds = (
                None if name is None else rows[name].combine_chunks()
                for name in (table.history, table.history_seconds)
            )
            joined, counts = self._histories.join(ids, given, seconds)
        features = rows.select(
            [name for name in rows.column_names if name in self._tower.inputs and name != table.history]
        )
        embeddings = np.empty((len(rows), self._tower.dim), np.float32)
        for start in range(0, len(rows), self._batch_rows):
            # The last batch is as long as all others: TensorFlow may add up in another order in one of
            # another length, and a row's embedding is not to depend on how the table was cut.
            places = np.minimum(np.arange(start, start + self._batch_rows), len(rows) - 1)
            batch = features.take(pa.array(places))
            if self._histories is not None and joined is not None:
                for name, column in self._histories.columns(joined, places).items():
                    batch = batch.append_column(name, column)
            block = embeddings[start : start + self._batch_rows]
            block[:] = self._tower.embed(batch, self._batch_rows)[: len(block)]
        refuse_non_finite(embeddings, ids.to_pylist(), table.name)
        values = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), self._tower.dim)
        return pa.table({table.id_feature.name: ids, EMBEDDING_OUTPUT: values}), counts


def load_embedder(model: Model) -> Embedder:
    """Load what embeds a table.

    Args:
        model: Where it is.

    Returns:
        The embedder.

    Raises:
        DataError: The release's users are not of this schema and catalogue.
        ReleaseError: A folder does not hold what it should.
    """
    tower = load_tower(model.tower, model.part)
    history = model.spec.history
    if history is None or model.index is None:
        return Embedder(tower, None)
    catalogue = read_index(model.index).catalogue
    known, reads_gaps = None, history.gap_column in tower.inputs
    if model.users is not None:
        catalogue_ids = catalogue[model.spec.item_id.name].combine_chunks().cast(pa.string())
        known = read_known_histories(model.users, model.spec, history, catalogue_ids, reads_gaps)
    return Embedder(tower, HistoryJoin(model.spec, history, catalogue, known, reads_gaps, model.now))
