"""Settings of AnnIndexer."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT

Kind = Literal["ivf_flat", "ivf_sq8", "hnsw"]
"""Kinds of index that there are beside exact search."""

Recall = Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(frozen=True, config=STRICT)
class AnnConfig:
    """The approximate index beside the exact one."""

    k: Annotated[int, Field(ge=1)] = 10
    """The length of the lists whose recall is measured."""
    target_recall: Recall = 0.95
    """The share of the exact search's first k items that the index has to find. Of the indexes that do, on
    one half of `ann.queries` and beyond chance, the fastest is taken."""
    floor: Recall | None = None
    """The model is not released where the recall on the other half is lower; null: `ann.target_recall`."""
    minimum_items: Annotated[int, Field(ge=1)] = 20_000
    """A catalogue of fewer items is searched exactly, which takes a fraction of a millisecond."""
    kinds: tuple[Kind, ...] = ("ivf_sq8", "hnsw")
    """What is tried. `ivf_flat`: lists around centres, of which the nearest are read; `ivf_sq8`: the same
    with a byte a number, and exact scores for the best; `hnsw`: a graph of neighbours, the fastest to
    search and by far the slowest to build. Empty: exact search, however large the catalogue."""
    sufficient_speedup: Annotated[float, Field(gt=1.0)] | None = 20.0
    """Once an index that finds enough is this many times as fast as exact search, none that takes longer to
    build is tried; null: all of `ann.kinds` are, whatever it costs."""
    queries: Annotated[int, Field(ge=100)] = 2000
    """Users with held-out items whose embeddings are the queries, one half to choose by, the other to report
    on."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Equal seeds draw the same users, and begin the search for centres at the same items."""

    @model_validator(mode="after")
    def _check(self) -> "AnnConfig":
        if self.floor is not None and self.floor > self.target_recall:
            raise ValueError(
                f"floor: expected at most target_recall, {self.target_recall:g}, which is all that the index "
                f"is tuned to. Received: {self.floor:g}"
            )
        return self

    @property
    def smallest_recall(self) -> float:
        """What the gate asks for."""
        return self.target_recall if self.floor is None else self.floor
