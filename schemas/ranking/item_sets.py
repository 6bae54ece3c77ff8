"""A set of items for each query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.ranges import list_positions


@dataclass(frozen=True)
class ItemSets:
    """A set of catalogue items for each query, in compressed rows."""

    offsets: npt.NDArray[np.int64]
    """[queries + 1]: query i has `items[offsets[i] : offsets[i + 1]]`."""
    items: npt.NDArray[np.int32]
    """[pairs] row numbers in the catalogue, distinct within a query."""

    @classmethod
    def from_pairs(
        cls, queries: npt.NDArray[np.integer], items: npt.NDArray[np.integer], query_count: int
    ) -> "ItemSets":
        """Group (query, item) pairs by query, each pair once.

        Args:
            queries: [pairs] query numbers, 0 to `query_count` - 1.
            items: [pairs] row numbers in the catalogue.
            query_count: Number of queries, those without a pair included.

        Returns:
            The sets, the items of each ascending.
        """
        width = int(np.max(items, initial=0)) + 1
        # Not np.unique: its table of hashes is many times slower than a sort on as many numbers as these.
        keys = np.sort(queries.astype(np.int64) * width + items)
        owners, distinct = np.divmod(keys[np.diff(keys, prepend=-1) != 0], width)
        offsets = np.searchsorted(owners, np.arange(query_count + 1)).astype(np.int64)
        return cls(offsets=offsets, items=distinct.astype(np.int32))

    @classmethod
    def from_ranges(
        cls,
        items: npt.NDArray[np.integer],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> "ItemSets":
        """Give each query the items in a range of positions.

        Args:
            items: [positions] row numbers in the catalogue.
            starts: [queries] the first position of each query's range.
            ends: [queries] the position after the last one.

        Returns:
            The sets, the items of each ascending.
        """
        owners = np.repeat(np.arange(len(starts)), ends - starts)
        return cls.from_pairs(owners, items[list_positions(starts, ends)], len(starts))

    @classmethod
    def of_one(cls, items: npt.NDArray[np.integer]) -> "ItemSets":
        """Give each query one item.

        Args:
            items: [queries] row numbers in the catalogue.

        Returns:
            The sets.
        """
        return cls(offsets=np.arange(len(items) + 1, dtype=np.int64), items=items.astype(np.int32))

    @classmethod
    def empty(cls, query_count: int) -> "ItemSets":
        """Give each query no item.

        Args:
            query_count: Number of queries.

        Returns:
            The sets.
        """
        return cls(offsets=np.zeros(query_count + 1, np.int64), items=np.zeros(0, np.int32))

    @classmethod
    def concatenate(cls, parts: Sequence["ItemSets"]) -> "ItemSets":
        """Put the sets of several groups of queries one after the other.

        Args:
            parts: At least one.

        Returns:
            The sets, the queries numbered on.
        """
        sizes = np.concatenate([part.sizes for part in parts])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(offsets=offsets, items=np.concatenate([part.items for part in parts]))

    @property
    def query_count(self) -> int:
        """Number of queries."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """[queries] the number of items of each query."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """[pairs] the query of each item."""
        return np.repeat(np.arange(self.query_count), self.sizes)

    def of_queries(self, queries: slice) -> "ItemSets":
        """Return the sets of consecutive queries.

        Args:
            queries: A slice without a step.

        Returns:
            Their sets, the queries numbered from 0.
        """
        start, stop, _ = queries.indices(self.query_count)
        offsets = self.offsets[start : stop + 1]
        return ItemSets(offsets=offsets - offsets[0], items=self.items[offsets[0] : offsets[-1]])

    def take(self, numbers: npt.NDArray[np.integer]) -> "ItemSets":
        """Return some sets, in any order and any number of times.

        Args:
            numbers: [queries] which set each query has, such as its user's.

        Returns:
            Its set for each query.
        """
        sizes = self.sizes[numbers]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        pairs = np.arange(offsets[-1]) + np.repeat(self.offsets[numbers] - offsets[:-1], sizes)
        return ItemSets(offsets=offsets, items=self.items[pairs])

    def count_in_ranges(
        self,
        items: npt.NDArray[np.integer],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Count how often each item is in the range of positions of its query.

        Args:
            items: [positions] row numbers in the catalogue.
            starts: [queries] the first position of each query's range.
            ends: [queries] the position after the last one.

        Returns:
            [pairs].
        """
        width = int(max(np.max(self.items, initial=0), np.max(items, initial=0))) + 1
        owners = np.repeat(np.arange(self.query_count), ends - starts)
        keys = np.sort(owners * width + items[list_positions(starts, ends)])
        own = self.owners * width + self.items
        return np.searchsorted(keys, own, side="right") - np.searchsorted(keys, own, side="left")

    def select(self, pairs: npt.NDArray[np.bool_]) -> "ItemSets":
        """Return the sets with some of their items.

        Args:
            pairs: [pairs] whether each stays.

        Returns:
            The sets of all queries.
        """
        kept = np.concatenate([[0], np.cumsum(pairs)]).astype(np.int64)
        return ItemSets(offsets=kept[self.offsets], items=self.items[pairs])

    def are_in(self, other: "ItemSets") -> npt.NDArray[np.bool_]:
        """Tell which items the same query has in other sets.

        Args:
            other: Sets of as many queries.

        Returns:
            [pairs] whether each is there.

        Raises:
            ValueError: The other sets are those of another number of queries.
        """
        if other.query_count != self.query_count:
            raise ValueError(
                f"Expected sets of {self.query_count} queries. Received: sets of {other.query_count}."
            )
        width = int(max(np.max(self.items, initial=0), np.max(other.items, initial=0))) + 1
        # Not the kind "table", whose memory is queries x items.
        return np.isin(self.owners * width + self.items, other.owners * width + other.items, kind="sort")
