"""Recommended items as the terminal shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tabulate import tabulate

from pipeline.queries.features import UNKNOWN_TEXT
from pipeline.recommend.explain import Influence
from schemas.features import FeatureSpec


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    rank: int
    """From 1."""
    item_id: str
    """The item."""
    score: float
    """Cosine similarity of the two embeddings, -1 to 1."""
    display: dict[str, Any]
    """The catalogue's display columns."""
    influences: tuple[Influence, ...] = ()
    """What the items of the history did to the score, the largest change first; empty unless asked for."""


def list_items(
    rows: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    catalogue: pa.Table,
    spec: FeatureSpec,
    influences: Sequence[tuple[Influence, ...]] | None = None,
) -> list[Recommendation]:
    """List ranked items.

    Args:
        rows: [items] rows in the catalogue, the best first.
        scores: [items] their scores.
        catalogue: The release's items.
        spec: The features.
        influences: [items] what the history did to each; None: not asked for.

    Returns:
        The items with their display columns.
    """
    shown = _select_display(catalogue, spec).take(pa.array(rows)).to_pylist()
    return [
        Recommendation(
            rank=rank,
            item_id=row.pop(spec.item_id.name),
            score=float(score),
            display=row,
            influences=() if influences is None else influences[rank - 1],
        )
        for rank, (score, row) in enumerate(zip(scores, shown, strict=True), start=1)
    ]


def describe_items(items: Sequence[str], catalogue: pa.Table, spec: FeatureSpec) -> list[str]:
    """Describe items on one line each.

    Args:
        items: Item ids.
        catalogue: The release's items.
        spec: The features.

    Returns:
        For each item, its first display column with the others in brackets; the id where there is none.
    """
    item_id, display = spec.item_id.name, _select_display(catalogue, spec)
    ids = display[item_id]
    known = display.filter(pc.is_in(ids, value_set=pa.array(items, ids.type)))
    rows = {row[item_id]: row for row in known.to_pylist()}
    described = []
    for item in items:
        first, *others = [show(value) for name, value in rows.get(item, {}).items() if name != item_id] or [
            item
        ]
        described.append(first + (f" ({', '.join(others)})" if others else ""))
    return described


def render_items(items: Sequence[Recommendation]) -> str:
    """Render items as a table.

    Args:
        items: The items.

    Returns:
        The table, with a header.
    """
    names = list(items[0].display) if items else []
    return tabulate(
        [[item.rank, f"{item.score:.3f}", item.item_id, *map(show, item.display.values())] for item in items],
        headers=["rank", "score", "item", *names],
        disable_numparse=True,
    )


def show(value: Any) -> str:
    """Show a value of a feature or a display column.

    Args:
        value: The value.

    Returns:
        A short text.
    """
    if isinstance(value, list) and value and isinstance(value[0], float):
        return f"of {len(value)} numbers"
    if isinstance(value, list):
        return " | ".join(map(str, value)) or "unknown"
    return "unknown" if value is None or value == UNKNOWN_TEXT else str(value)


def _select_display(catalogue: pa.Table, spec: FeatureSpec) -> pa.Table:
    shown = dict.fromkeys([spec.item_id.name, *spec.tables.display])
    return catalogue.select([name for name in shown if name in catalogue.column_names])
