"""Logs of several kinds to choose settings on, most of them of `dssm synth`'s planted model.

    .venv/bin/python benchmarks/planted_kinds.py many_short_sequences --output data/many_short_sequences

- `many_short_sequences`: 20,000 users with five to ten interactions each, of 3,000 items. A third of the
  interactions are with one of a few companions of the user's item before.
- `cold_items`: 4,000 users, and 2,000 items that come evenly over the log's 28 days, so that a quarter of
  them is new in its last week.
- `unordered`: the tables of another folder (`--of`), whose times are dealt out anew among each user's rows,
  so that their order says nothing.

docs/quality.md says what was chosen on them. The same arguments give the same tables.
"""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets import tables
from pipeline.datasets.synthetic import PlantedModel, draw_interactions, plant_model, write_metadata

UNORDERED: Final = "unordered"
_COMPANIONS: Final = 4


@dataclass(frozen=True)
class Kind:
    """What a log is drawn with."""

    users: int
    items: int
    interactions: int
    days: int
    follows: float = 0.0
    """Share of the interactions that are with a companion of the user's item before."""
    has_equal_users: bool = False
    """Whether all users are about equally active."""
    has_items_at_start: bool = True
    """Whether most items are there from the first moment; if not, they come evenly over the log."""


KINDS: Final[Mapping[str, Kind]] = {
    "many_short_sequences": Kind(20_000, 3_000, 150_000, 56, follows=1 / 3, has_equal_users=True),
    "cold_items": Kind(4_000, 2_000, 120_000, 28, has_items_at_start=False),
}


def write_kind(kind: Kind, directory: Path, seed: int) -> None:
    """Draw a log and write its three tables.

    Args:
        kind: What it is drawn with.
        directory: Gets interactions.parquet, users.parquet and items.parquet.
        seed: Seed of the random numbers, not negative.

    Raises:
        ConfigError: The folder has tables already.
        DataError: The folder cannot be written.
    """
    rng = np.random.default_rng(seed)
    model = _adapt(plant_model(kind.users, kind.items, kind.days, rng), kind, rng)
    drawn = pa.Table.from_batches(draw_interactions(model, kind.interactions, rng))
    users, items = (_number(drawn[name]) for name in ("user_id", "item_id"))
    items = follow_companions(users, items, draw_companions(model.item_cluster, rng), kind.follows, rng)
    columns = {
        "user_id": _identify("u", users),
        "item_id": _identify("i", items),
        "rating": drawn["rating"],
        "timestamp": drawn["timestamp"],
    }
    with tables.staged_tables(directory) as staging:
        write_metadata(model, staging, rng)
        log = pa.table(columns, schema=tables.INTERACTIONS)
        pq.write_table(log, staging / tables.INTERACTIONS_FILE)


def write_unordered(source: Path, directory: Path, seed: int) -> None:
    """Write the tables of another folder with times that say nothing.

    Args:
        source: Has the tables, as `dssm fetch movielens-100k` and `dssm synth` leave them.
        directory: Gets interactions.parquet, users.parquet and items.parquet.
        seed: Seed of the random numbers, not negative.

    Raises:
        DataError: The folder cannot be written.
    """
    log = pq.read_table(source / tables.INTERACTIONS_FILE)
    users = log["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    times = shuffle_within(users, log["timestamp"].to_numpy(), np.random.default_rng(seed))
    log = log.set_column(log.column_names.index("timestamp"), "timestamp", pa.array(times))
    with tables.staged_tables(directory) as staging:
        for name in (tables.USERS_FILE, tables.ITEMS_FILE):
            shutil.copy(source / name, staging / name)
        pq.write_table(log.sort_by("timestamp"), staging / tables.INTERACTIONS_FILE)


def draw_companions(cluster: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the companions of each item.

    Args:
        cluster: [items] cluster of each item.
        rng: Source of random numbers.

    Returns:
        [items, companions] numbers of items of the same cluster.
    """
    members = np.argsort(cluster, kind="stable")
    sizes = np.bincount(cluster)
    starts = np.cumsum(sizes) - sizes
    drawn = rng.random((len(cluster), _COMPANIONS))
    return members[starts[cluster][:, np.newaxis] + (drawn * sizes[cluster][:, np.newaxis]).astype(np.int64)]


def follow_companions(
    users: np.ndarray, items: np.ndarray, companions: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Replace items by companions of the user's item before.

    Args:
        users: [rows] user of each row, in the order of time.
        items: [rows] item of each row.
        companions: [items, companions] of each item.
        share: Of the rows that follow the row before.
        rng: Source of random numbers.

    Returns:
        [rows] the items.
    """
    follows = rng.random(len(items)) < share
    which = rng.integers(0, companions.shape[1], len(items))
    result = items.copy()
    newest: dict[int, int] = {}
    for row, user in enumerate(users.tolist()):
        before = newest.get(user)
        if follows[row] and before is not None:
            result[row] = companions[before, which[row]]
        newest[user] = int(result[row])
    return result


def shuffle_within(groups: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the values of each group out anew among its rows.

    Args:
        groups: [rows] group of each row.
        values: [rows] value of each row.
        rng: Source of random numbers.

    Returns:
        [rows] the values.
    """
    rows = np.lexsort((rng.random(len(groups)), groups))
    result = np.empty_like(values)
    result[rows] = values[np.argsort(groups, kind="stable")]
    return result


def _adapt(model: PlantedModel, kind: Kind, rng: np.random.Generator) -> PlantedModel:
    if kind.has_equal_users:
        model = replace(
            model,
            user_activity=rng.uniform(5, 10, kind.users),
            # Who came late would have fewer.
            user_appears=np.zeros(kind.users, np.int64),
        )
    if not kind.has_items_at_start:
        appears = rng.integers(0, model.horizon_seconds, kind.items)
        # One item of each cluster is there from the start, as `plant_model` says.
        appears[: model.clusters] = 0
        model = replace(model, item_appears=appears)
    return model


def _number(ids: pa.ChunkedArray) -> np.ndarray:
    return pc.utf8_slice_codeunits(ids, 1).cast(pa.int64()).to_numpy() - 1


def _identify(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers + 1).cast(pa.string()), "")


def main() -> None:
    """Parse the options and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=[*KINDS, UNORDERED])
    parser.add_argument("--output", type=Path, required=True, help="gets the tables")
    parser.add_argument(
        "--of", type=Path, metavar="DIR", help=f"of {UNORDERED}: the tables whose times are dealt out anew"
    )
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    arguments = parser.parse_args()
    if (arguments.of is None) == (arguments.kind == UNORDERED):
        parser.error(f"expected --of with {UNORDERED}, and with it alone")
    if arguments.kind == UNORDERED:
        write_unordered(arguments.of, arguments.output, arguments.seed)
    else:
        write_kind(KINDS[arguments.kind], arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
