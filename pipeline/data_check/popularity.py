"""What popularity alone reaches on the split."""

import numpy as np

from components.interaction_ingest.ordering import owners
from components.interaction_ingest.splits import EVAL, TRAIN, VALIDATION
from components.interaction_ingest.user_sequences import UserSequences
from schemas.ranking import Candidates, ItemSets, choose_targets, rank_by_common_scores
from schemas.ranking.cut_offs import default_cut_offs
from schemas.ranking.metrics import recall


def measure_popularity(
    sequences: UserSequences, catalogue_items: int, candidates: Candidates
) -> dict[int, float]:
    """Rank the held-out items by the number of interactions before, the same for every user.

    Args:
        sequences: The positives.
        catalogue_items: Items of the catalogue; those without an interaction are ranked, too.
        candidates: What is ranked, `evaluation.candidates`.

    Returns:
        The recall by cut-off; none where nothing is asked for.
    """
    users = owners(sequences.offsets)
    is_known = np.isin(sequences.splits, (TRAIN, VALIDATION))
    is_held_out = sequences.splits == EVAL
    count = len(sequences.user_ids)
    chosen = choose_targets(
        ItemSets.from_pairs(users[is_held_out], sequences.items[is_held_out], count),
        ItemSets.from_pairs(users[is_known], sequences.items[is_known], count),
        candidates,
    )
    if not len(chosen.queries):
        return {}
    size = max(catalogue_items, len(sequences.item_ids))
    popularity = np.bincount(sequences.items[is_known], minlength=size)
    ranks = rank_by_common_scores(popularity, chosen.targets, chosen.masked)
    return {k: float(recall(ranks, chosen.targets, k).mean()) for k in default_cut_offs(size)}
