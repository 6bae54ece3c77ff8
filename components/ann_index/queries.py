"""Real queries: what the user tower makes of users as of their first held-out position."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.retrieval_evaluator.data import count_eval_users, draw_users
from components.retrieval_evaluator.models import embed_queries
from components.retrieval_evaluator.queries import Queries, choose_columns, concatenate_queries, make_queries
from components.towers import Tower
from schemas.contract import EVAL_END, VALIDATION_END
from schemas.features import FeatureSpec
from schemas.sequences import read_sequences


def embed_users(
    tower: Tower, sequences: Path, catalogue: pa.Table, spec: FeatureSpec, users: int, seed: int
) -> npt.NDArray[np.float32]:
    """Embed some of the users with held-out items.

    Args:
        tower: The user tower.
        sequences: The folder of the sequences.
        catalogue: [items] the item id and the item features of the history, in the order of the index.
        spec: The features.
        users: How many to draw; as many as there are where there are fewer.
        seed: Which ones.

    Returns:
        [users, dim].

    Raises:
        DataError: The sequences are not those of the features and the catalogue.
        ReleaseError: The user tower reads something that is not in the features.
        TrainingError: An embedding is not finite.
    """
    queries = _draw_queries(tower, sequences, catalogue, spec, users, seed)
    if queries is None:
        return np.empty((0, tower.dim), np.float32)
    return embed_queries(tower, queries, spec, catalogue)


def _draw_queries(
    tower: Tower, sequences: Path, catalogue: pa.Table, spec: FeatureSpec, users: int, seed: int
) -> Queries | None:
    columns = choose_columns(spec, sorted(tower.inputs))
    drawn = draw_users(count_eval_users(sequences), users, seed)
    parts, number = [], 0
    times = [spec.timestamp] if columns.has_gaps else []
    for part in read_sequences(
        sequences,
        spec,
        catalogue[spec.item_id.name].combine_chunks(),
        user_columns=columns.user,
        position_columns=[*columns.context, *times],
    ):
        held_out = np.flatnonzero(part.ends[EVAL_END] > part.ends[VALIDATION_END])
        kept = held_out[drawn[number : number + len(held_out)]]
        number += len(held_out)
        if len(kept):
            parts.append(make_queries(part, kept, spec, columns))
    return concatenate_queries(parts) if parts else None
