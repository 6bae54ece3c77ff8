"""Tables drawn from a planted latent model, of any size, with the columns of MovieLens-100K.

The model, so that it is known what there is to find:

- Items belong to clusters. Popularity over all items is Zipf's law as Mandelbrot generalised it: weight
  1 / (rank + 10), ranks drawn at random. Genres and year reveal the cluster in part.
- A user has a home cluster, which age and occupation reveal in part. Time is cut into phases; in each,
  the user's interest lies in the home cluster or in another one, so the recent history says more than
  the older one.
- An interaction is, most of the time, with an item of the user's present interest, and else with any
  item; within either it follows popularity. Ratings are higher in the first case. An item that
  the user has met is drawn anew a few times, so that users seldom come back to one.
- Most items and some users are there from the first moment, the others appear later, evenly over
  time. Neither takes part in an interaction before that.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.datasets import tables
from schemas.errors import ConfigError
from schemas.times import SECONDS_PER_DAY

START_SECONDS: Final = 1_704_067_200
"""The first moment of every data set: 2024-01-01 00:00 UTC."""

_ROWS_PER_BATCH = 1_000_000

# Without it the first rank alone has an eighth of all interactions.
_RANK_OFFSET = 10.0
_ITEMS_AT_START = 0.7
_USERS_AT_START = 0.3
_PHASES = 8
_STAYS_HOME = 0.4
_FOLLOWS_INTEREST = 0.8
# Spread (of the logarithm) of how many interactions users have.
_ACTIVITY_SIGMA = 1.0
_DRAWS_FOR_A_NEW_ITEM = 5
_PAIR_TABLE_SIZE = 2**26
_ENTRIES_PER_PAIR = 4

# fmt: off
_GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
_OCCUPATIONS = (
    "administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive", "healthcare",
    "homemaker", "lawyer", "librarian", "marketing", "none", "other", "programmer", "retired", "salesman",
    "scientist", "student", "technician", "writer",
)
# fmt: on

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlantedModel:
    """What the interactions are drawn from; users and items are numbered from 0."""

    horizon_seconds: int
    """Length of the data set."""
    user_appears: _Ints
    """[users] first second, counted from the start, at which the user may interact."""
    user_activity: _Floats
    """[users] relative number of interactions."""
    user_phase_offset: _Floats
    """[users] in [0, 1): how far into a phase the user is at the start."""
    user_interest: _Ints
    """[users, phases + 1] cluster that the user's interest lies in."""
    user_home: _Ints
    """[users] home cluster."""
    item_cluster: _Ints
    """[items] cluster."""
    item_appears: _Ints
    """[items] first second, counted from the start, at which the item may be interacted with."""
    item_weight: _Floats
    """[items] popularity, 1 / (rank + 10)."""

    @property
    def clusters(self) -> int:
        """Number of item clusters."""
        return int(self.item_cluster.max()) + 1


def write_synthetic(directory: Path, users: int, items: int, interactions: int, days: int, seed: int) -> None:
    """Draw a data set and write its three tables; the same arguments give the same files.

    Args:
        directory: Gets interactions.parquet (sorted by time), users.parquet and items.parquet.
        users: Number of users; one with little activity may have no interaction.
        items: Number of items; one with little popularity may have no interaction.
        interactions: Number of interactions. They are drawn and written in batches, so memory grows
            with users and items alone.
        days: Length of the data set.
        seed: Seed of the random numbers, not negative.

    Raises:
        ConfigError: An argument is out of range, or the folder has tables already.
        DataError: The folder cannot be written.
    """
    sizes = {"users": users, "items": items, "interactions": interactions, "days": days}
    wrong = [f"{name} = {value}" for name, value in sizes.items() if value < 1]
    if wrong:
        raise ConfigError(f"Synthetic data: expected numbers of at least 1. Received: {', '.join(wrong)}.")
    if seed < 0:
        raise ConfigError(f"Synthetic data: expected a seed of at least 0. Received: {seed}.")
    present = tables.present_tables(directory)
    if present:
        raise ConfigError(
            f"{directory} has {', '.join(present)} already. Remove them or name another folder."
        )

    model_seed, metadata_seed, interactions_seed = np.random.SeedSequence(seed).spawn(3)
    model = plant_model(users, items, days, np.random.default_rng(model_seed))
    metadata_rng = np.random.default_rng(metadata_seed)
    batches = draw_interactions(model, interactions, np.random.default_rng(interactions_seed))
    with tables.staged_tables(directory) as staging:
        write_metadata(model, staging, metadata_rng)
        with pyarrow.parquet.ParquetWriter(staging / tables.INTERACTIONS_FILE, tables.INTERACTIONS) as writer:
            for batch in batches:
                writer.write_batch(batch)


def write_metadata(model: PlantedModel, directory: Path, rng: np.random.Generator) -> None:
    """Draw what is known of users and items and write it.

    Args:
        model: What to draw from.
        directory: Gets users.parquet and items.parquet.
        rng: Source of random numbers.
    """
    pyarrow.parquet.write_table(_draw_users(model, rng), directory / tables.USERS_FILE)
    pyarrow.parquet.write_table(_draw_items(model, rng), directory / tables.ITEMS_FILE)


def plant_model(users: int, items: int, days: int, rng: np.random.Generator) -> PlantedModel:
    """Draw clusters, popularity, interests and appearances.

    Args:
        users: Number of users.
        items: Number of items.
        days: Length of the data set.
        rng: Source of random numbers.

    Returns:
        The model.
    """
    horizon = days * SECONDS_PER_DAY
    clusters = min(items, max(2, min(200, round(math.sqrt(items) / 2))))
    rank = rng.permutation(items) + 1
    weight = (1.0 / (rank + _RANK_OFFSET)).astype(np.float64)
    # The first items are one of each cluster and there from the start, so that no cluster is ever empty.
    cluster = np.concatenate([np.arange(clusters), rng.integers(0, clusters, items - clusters)])
    item_appears = _draw_appearances(items, _ITEMS_AT_START, horizon, rng)
    item_appears[:clusters] = 0
    user_appears = _draw_appearances(users, _USERS_AT_START, horizon, rng)
    user_appears[0] = 0

    # Interest in proportion to a cluster's weight keeps Zipf's law over all items.
    share = np.bincount(cluster, weights=weight, minlength=clusters)
    share = share / share.sum()
    home = rng.choice(clusters, users, p=share)
    elsewhere = rng.choice(clusters, (users, _PHASES + 1), p=share)
    interest = np.where(rng.random(elsewhere.shape) < _STAYS_HOME, home[:, None], elsewhere)
    return PlantedModel(
        horizon_seconds=horizon,
        user_appears=user_appears,
        user_activity=rng.lognormal(0.0, _ACTIVITY_SIGMA, users),
        user_phase_offset=rng.random(users),
        user_interest=interest,
        user_home=home,
        item_cluster=cluster,
        item_appears=item_appears,
        item_weight=weight,
    )


def draw_interactions(
    model: PlantedModel, interactions: int, rng: np.random.Generator, batch_rows: int = _ROWS_PER_BATCH
) -> Iterator[pa.RecordBatch]:
    """Draw interactions in the order of time.

    Args:
        model: What to draw from.
        interactions: Number of rows.
        rng: Source of random numbers.
        batch_rows: Rows of a batch.

    Yields:
        Batches with the columns user_id, item_id, rating and timestamp.
    """
    user_ids = _user_ids(len(model.user_appears))
    item_ids = _item_ids(len(model.item_appears))
    all_users = _Sampler(np.zeros_like(model.user_appears), model.user_appears, model.user_activity)
    all_items = _Sampler(np.zeros_like(model.item_appears), model.item_appears, model.item_weight)
    items_by_cluster = _Sampler(model.item_cluster, model.item_appears, model.item_weight)
    seen = _SeenPairs(len(item_ids), interactions)
    for first in range(0, interactions, batch_rows):
        rows = min(batch_rows, interactions - first)
        # Each batch has the slice of time that belongs to its rows: sorted over all batches.
        position = (first + np.sort(rng.random(rows)) * rows) / interactions
        seconds = np.minimum((position * model.horizon_seconds).astype(np.int64), model.horizon_seconds - 1)
        user = all_users.draw(np.zeros(rows, np.int64), seconds, rng)
        phase = seconds / model.horizon_seconds * _PHASES + model.user_phase_offset[user]
        interest = model.user_interest[user, phase.astype(np.int64)]
        follows = np.empty(rows, bool)
        item = np.empty(rows, np.int64)
        open_rows = np.arange(rows)
        for _ in range(_DRAWS_FOR_A_NEW_ITEM):
            follows[open_rows] = rng.random(len(open_rows)) < _FOLLOWS_INTEREST
            near, far = open_rows[follows[open_rows]], open_rows[~follows[open_rows]]
            item[near] = items_by_cluster.draw(interest[near], seconds[near], rng)
            item[far] = all_items.draw(np.zeros(len(far), np.int64), seconds[far], rng)
            open_rows = open_rows[seen.add(user[open_rows], item[open_rows])]
        rating = np.where(follows, rng.integers(3, 6, rows), rng.integers(1, 6, rows))
        yield pa.record_batch(
            [
                user_ids.take(pa.array(user)),
                item_ids.take(pa.array(item)),
                pa.array(rating, pa.float32()),
                pa.array(seconds + START_SECONDS),
            ],
            schema=tables.INTERACTIONS,
        )


class _Sampler:
    """Draws members of a group in proportion to their weights, among those that have appeared."""

    def __init__(self, group: _Ints, appears: _Ints, weight: _Floats) -> None:
        self._span = int(appears.max()) + 1
        # Sorted by group and then by appearance, those there at a moment are one run per group.
        self._order = np.lexsort((appears, group))
        self._keys = (group * self._span + appears)[self._order]
        self._cumulative = np.concatenate([[0.0], np.cumsum(weight[self._order])])

    def draw(self, group: _Ints, seconds: _Ints, rng: np.random.Generator) -> _Ints:
        start = np.searchsorted(self._keys, group * self._span, side="left")
        moment = np.minimum(seconds, self._span - 1)
        stop = np.searchsorted(self._keys, group * self._span + moment, side="right")
        low, high = self._cumulative[start], self._cumulative[stop]
        drawn = (
            np.searchsorted(self._cumulative, low + rng.random(len(group)) * (high - low), side="right") - 1
        )
        # Rounding may land on the run's end, which is the first that has not appeared.
        return self._order[np.clip(drawn, start, stop - 1)]


class _SeenPairs:
    """Remembers pairs of user and item in a table with a few entries for each interaction.

    Pairs share entries: some are then taken for seen that are not, and drawn anew.
    """

    def __init__(self, items: int, interactions: int) -> None:
        self._items = items
        size = max(_PAIR_TABLE_SIZE, 1 << (_ENTRIES_PER_PAIR * interactions - 1).bit_length())
        self._seen = np.zeros(size, bool)

    def add(self, user: _Ints, item: _Ints) -> NDArray[np.bool_]:
        entry = (user * self._items + item) % len(self._seen)
        repeated = np.ones(len(entry), bool)
        repeated[np.unique(entry, return_index=True)[1]] = False
        repeated |= self._seen[entry]
        self._seen[entry] = True
        return repeated


def _draw_appearances(count: int, at_start: float, horizon: int, rng: np.random.Generator) -> _Ints:
    return np.where(rng.random(count) < at_start, 0, rng.integers(0, horizon, count))


def _draw_users(model: PlantedModel, rng: np.random.Generator) -> pa.Table:
    count = len(model.user_home)
    age_of_cluster = rng.integers(18, 61, model.clusters)
    occupation_of_cluster = rng.integers(0, len(_OCCUPATIONS), model.clusters)
    age = np.clip(np.rint(rng.normal(age_of_cluster[model.user_home], 6.0)), 7, 90).astype(np.int64)
    telling = rng.random(count) < 0.5
    occupation = np.where(
        telling, occupation_of_cluster[model.user_home], rng.integers(0, len(_OCCUPATIONS), count)
    )
    zip_codes = pc.utf8_lpad(pa.array(rng.integers(0, 100_000, count)).cast(pa.string()), 5, "0")
    return pa.Table.from_arrays(
        [
            _user_ids(count),
            pa.array(age),
            pa.array(["F", "M"]).take(pa.array((rng.random(count) < 0.7).astype(np.int64))),
            pa.array(_OCCUPATIONS).take(pa.array(occupation)),
            zip_codes,
        ],
        schema=tables.USERS,
    )


def _draw_items(model: PlantedModel, rng: np.random.Generator) -> pa.Table:
    count = len(model.item_cluster)
    ids = _item_ids(count)
    # A cluster has a first and a second genre, which its items mostly have; others come by chance.
    has_genre = rng.random((count, len(_GENRES))) < 0.05
    for probability in (0.8, 0.4):
        genre = rng.integers(0, len(_GENRES), model.clusters)[model.item_cluster]
        has_genre[np.arange(count), genre] |= rng.random(count) < probability
    item_of_genre, genre_index = np.nonzero(has_genre)
    offsets = np.searchsorted(item_of_genre, np.arange(count + 1)).astype(np.int32)
    year = np.rint(rng.normal(rng.integers(1950, 2020, model.clusters)[model.item_cluster], 8.0))
    return pa.Table.from_arrays(
        [
            ids,
            pc.binary_join_element_wise("Film", ids, " "),
            pa.array(np.clip(year, 1920, 2024).astype(np.int64), mask=rng.random(count) < 0.005),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(_GENRES).take(pa.array(genre_index))),
        ],
        schema=tables.ITEMS,
    )


def _user_ids(count: int) -> pa.Array:
    return pc.binary_join_element_wise("u", pa.array(np.arange(1, count + 1)).cast(pa.string()), "")


def _item_ids(count: int) -> pa.Array:
    return pc.binary_join_element_wise("i", pa.array(np.arange(1, count + 1)).cast(pa.string()), "")
