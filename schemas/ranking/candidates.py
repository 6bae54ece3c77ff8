"""What is ranked for whom: the items that a user can be recommended, and the held-out items to be found."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.ranking.item_sets import ItemSets

Candidates = Literal["new", "all"]
"""`new`: a user is recommended only what the user does not have. `all`: anything."""


@dataclass(frozen=True)
class Chosen:
    """The queries that are left, each with at least one target, and what is ranked for them."""

    queries: npt.NDArray[np.int64]
    """[kept] their numbers among those given, ascending."""
    targets: ItemSets
    """[kept] the items to be found."""
    masked: ItemSets
    """[kept] the items that are not ranked; no target is among them."""
    has_repeat: npt.NDArray[np.bool_]
    """[kept] whether the query's user had one of its held-out items before."""
    held_out: int
    """Number of held-out items of all queries given."""
    repeated: int
    """How many of these their user had before."""


def choose_targets(held_out: ItemSets, seen: ItemSets, candidates: Candidates) -> Chosen:
    """Choose the targets and the mask of every query.

    With `new`, the items that the user has are masked, and a held-out item among them is no target: ranked as
    the only one of them, it would be found by whoever remembers what the user has. With `all`, nothing is
    masked and every held-out item is a target. A query without a target is left out.

    Args:
        held_out: The held-out items of each query.
        seen: The items that each query's user had before.
        candidates: `new` or `all`.

    Returns:
        The queries that are left.
    """
    is_repeat = held_out.are_in(seen)
    targets = held_out if candidates == "all" else held_out.select(~is_repeat)
    queries = np.flatnonzero(targets.sizes)
    repeats = np.bincount(held_out.owners[is_repeat], minlength=held_out.query_count)
    return Chosen(
        queries=queries,
        targets=targets.take(queries),
        masked=ItemSets.empty(len(queries)) if candidates == "all" else seen.take(queries),
        has_repeat=repeats[queries] > 0,
        held_out=len(held_out.items),
        repeated=int(is_repeat.sum()),
    )
