"""How many positives a user may have."""

import numpy as np
import numpy.typing as npt

from components.interaction_ingest.ordering import rows_after


def newest_of_user(offsets: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.bool_]:
    """Find each user's newest rows.

    Args:
        offsets: [users + 1] int64: the rows of user u are offsets[u] to offsets[u + 1] - 1, in time order.
        limit: How many of each user stay.

    Returns:
        [rows] bool, whether the row stays.
    """
    return rows_after(offsets) < limit
