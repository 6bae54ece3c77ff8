"""Some users, with what they had, what was held out, and what each model recommends."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.retrieval_evaluator.titles import describe_items, show_value
from schemas.ranking import ItemSets


def draw_queries(query_count: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw queries.

    Args:
        query_count: Number of queries.
        count: How many to draw, fewer where there are fewer.
        seed: Equal seeds draw the same.

    Returns:
        Their numbers, ascending.
    """
    drawn = np.random.default_rng(seed).choice(query_count, min(count, query_count), replace=False)
    return np.sort(drawn)


def describe_sample(
    queries: npt.NDArray[np.integer],
    features: pa.Table,
    user_id: str,
    recent_items: npt.NDArray[np.integer],
    held_out: ItemSets,
    lists: Mapping[str, npt.NDArray[np.integer] | None],
    catalogue: pa.Table,
    item_id: str,
    title: str | None,
) -> list[dict[str, Any]]:
    """Describe some queries.

    Args:
        queries: [drawn] numbers of the queries.
        features: [queries] the user id, and features of the users and contexts.
        user_id: Name of the user id column.
        recent_items: [queries, length] rows in the catalogue, the newest last, -1 on the left.
        held_out: The held-out items of each query.
        lists: [queries, k] rows in the catalogue by the name of a model, the best first, -1 where a list
            ends; None of a model that there is none of.
        catalogue: Holds the item id and the title.
        item_id: Name of the item id column.
        title: The column that is shown of an item; None: the id.

    Returns:
        For each query `user`, `features`, `history` (the newest first), `held_out`, and a list by the name
        of each model.
    """

    def describe(rows: npt.NDArray[np.integer]) -> list[dict[str, str]]:
        return describe_items(rows, catalogue, item_id, title)

    described = []
    for query, row in zip(queries.tolist(), features.take(pa.array(queries)).to_pylist(), strict=True):
        user = row.pop(user_id)
        start, end = held_out.offsets[query], held_out.offsets[query + 1]
        described.append(
            {
                "user": str(user),
                "features": {name: show_value(value) for name, value in row.items()},
                "history": describe(recent_items[query][::-1]),
                "held_out": describe(held_out.items[start:end]),
                **{name: None if items is None else describe(items[query]) for name, items in lists.items()},
            }
        )
    return described
