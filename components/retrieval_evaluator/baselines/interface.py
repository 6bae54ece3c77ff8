"""What a baseline is asked and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.retrieval_evaluator.baselines.log import BaselineLog
from schemas.ranking import Candidates, ItemSets, Ranks


@dataclass(frozen=True)
class BaselineQueries:
    """The queries of an evaluation."""

    targets: ItemSets
    """The held-out items."""
    masked: ItemSets
    """The items left out of the ranking, none of them a target."""
    seen: ItemSets
    """All items that the query's user is known to have, whether or not they are left out."""
    seen_counts: npt.NDArray[np.int64]
    """[pairs of `seen`] how many of the user's known interactions are with each."""
    recent_items: npt.NDArray[np.int32]
    """[queries, length] the user's last known items, the newest last; -1 on the left for none."""
    times: npt.NDArray[np.int64]
    """[queries] seconds since 1970 of the first held-out interaction."""
    candidates: Candidates
    """Which items are ranked, which decided on the targets and the mask."""
    k: int
    """The largest cut-off of the metrics; places behind it need not be told."""


@dataclass(frozen=True)
class BaselineResult:
    """What a baseline makes of the queries."""

    ranks: Ranks | None
    """The targets' places; None: it could not be computed here, for the reason in the note."""
    note: str | None
    """What a reader of its figures has to know."""


Baseline = Callable[[BaselineLog, BaselineQueries, npt.NDArray[np.int64]], BaselineResult]
"""From the log, the queries and [items] the number of known interactions with each item, all users'."""
