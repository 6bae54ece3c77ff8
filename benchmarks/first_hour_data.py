"""Tables as a new user has them, with what is wrong with such tables, of `dssm synth`'s planted model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.datasets.synthetic import write_synthetic

_DAY_SECONDS: Final = 86_400
_EVENTS: Final = ("view", "add_to_cart", "purchase", "remove_from_cart")
_SNOWFLAKE: Final = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Size:
    """How large a data set is."""

    users: int
    items: int
    interactions: int
    days: int = 90


@dataclass(frozen=True)
class Log:
    """The planted tables that a data set is dressed from."""

    interactions: pa.Table
    users: pa.Table
    items: pa.Table
    rng: np.random.Generator

    def newest_of(self, column: str, value: str) -> pa.Table:
        """Give the newest row's value of another column, and the number of rows, for each id."""
        grouped = self.interactions.group_by(column, use_threads=False)
        return grouped.aggregate([(value, "last"), ("timestamp", "max"), (value, "count")])


def plant_log(size: Size, folder: Path, seed: int) -> Log:
    """Draw the tables that a data set is dressed from.

    Args:
        size: How large they are.
        folder: A scratch folder.
        seed: Of the random numbers.

    Returns:
        The tables.
    """
    write_synthetic(
        folder,
        users=size.users,
        items=size.items,
        interactions=size.interactions,
        days=size.days,
        seed=seed,
    )
    read = {name: pq.read_table(folder / f"{name}.parquet") for name in ("interactions", "users", "items")}
    return Log(**read, rng=np.random.default_rng(seed))


def show_times(seconds: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Write times as text."""
    return pc.strftime(seconds.cast(pa.timestamp("s")), form)


def write_shop(log: Log, folder: Path) -> list[Path]:
    """Write a shop's export: three CSV files with semicolons, gzip around two of them.

    Its traps: rows without a customer, events that speak against a product, customers who are in no table, a
    customer's newest product, order count and last order, which give the held-out ones away, postal codes
    with leading zeros, a constant, a counter of views, prices that are missing, an article number that copies
    the id, and a column `name` in both tables.

    Args:
        log: The planted tables.
        folder: Where they are written.

    Returns:
        The files.
    """
    rows, rng = log.interactions, log.rng
    count = len(rows)
    event = np.array(_EVENTS)[rng.choice(4, count, p=[0.6, 0.2, 0.15, 0.05])]
    events = pa.table(
        {
            "Event Time": show_times(rows["timestamp"], "%Y-%m-%dT%H:%M:%SZ"),
            # In chunks, Arrow 18's if_else gives offsets that lie outside of its result.
            "CustomerID": pc.if_else(
                pa.array(rng.random(count) < 0.03), None, rows["user_id"].combine_chunks()
            ),
            "Product-ID": rows["item_id"],
            "Event": pa.array(event),
            "Dwell": pa.array(rng.integers(1, 600, count)),
            "Session": pa.array([f"s{number:07d}" for number in np.arange(count) // 4]),
        }
    )
    last = log.newest_of("user_id", "item_id")
    customers = log.users.join(last, "user_id").sort_by("user_id")
    customers = customers.filter(pa.array(rng.random(len(customers)) < 0.98))
    number = len(customers)
    users = pa.table(
        {
            "id": customers["user_id"],
            "name": pa.array([f"Customer {place} of {rng.integers(0, 10**6)}" for place in range(number)]),
            "age": pc.if_else(pa.array(rng.random(number) < 0.1), None, customers["age"]),
            "postal_code": customers["zip_code"],
            "segment": customers["occupation"],
            "country": pa.array(["DE"] * number),
            "orders": customers["item_id_count"],
            "last_product": customers["item_id_last"],
            "last_order": pc.strftime(
                customers["timestamp_max"].cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S"
            ),
        }
    )
    products = log.items
    number = len(products)
    rows_of = log.newest_of("item_id", "user_id")
    place = pc.index_in(products["item_id"], value_set=rows_of["item_id"].combine_chunks())
    views = rows_of["user_id_count"].take(place)
    items = pa.table(
        {
            "id": products["item_id"],
            "name": products["title"],
            "article_number": pa.array([f"A-{place * 7 + 13:06d}" for place in range(number)]),
            "price": pa.array(np.round(rng.lognormal(3, 0.8, number), 2), mask=rng.random(number) < 0.02),
            "tags": pc.binary_join(products["genres"], "|"),
            "year": products["year"],
            "views": pc.fill_null(views, 0),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "events.csv.gz", folder / "customers.csv", folder / "products.csv.gz"]
    for path, table in zip(paths, (events, users, items), strict=True):
        with pa.output_stream(str(path)) as stream:
            options = pa.csv.WriteOptions(delimiter=";", quoting_style="needed")
            pa.csv.write_csv(table, stream, options)
    return paths


def write_plays(log: Log, folder: Path) -> list[Path]:
    """Write a music service's plays and tracks, two Parquet files: songs are played again and again.

    Its traps: ids of 19 digits, two columns with times of which one is when the row was loaded, a robot that
    plays all day, tracks that nobody plays, a mean rating, a vector, a row number, and no table of listeners,
    whose country stands in the log.

    Args:
        log: The planted tables.
        folder: Where they are written.

    Returns:
        The files.
    """
    rows, rng = log.interactions, log.rng
    users = pc.replace_substring(rows["user_id"], "u", "").cast(pa.int64()).to_numpy()
    items = pc.replace_substring(rows["item_id"], "i", "").cast(pa.int64()).to_numpy()
    times = rows["timestamp"].to_numpy()
    # Half of the plays are of what the listener played before, mostly of late.
    again = rng.random(len(users)) < 0.5
    items = _play_again(users, items, again, rng)
    robots = len(users) // 50
    users = np.concatenate([users, np.full(robots, users.max() + 1)])
    items = np.concatenate([items, rng.choice(items, robots)])
    times = np.concatenate([times, np.sort(rng.choice(times, robots))])
    order = np.argsort(times, kind="stable")
    users, items, times = users[order], items[order], times[order]
    country_of = np.array(["DE", "FR", "JP", "BR"])[rng.integers(0, 4, users.max() + 1)]
    plays = pa.table(
        {
            "loaded_at": pa.array(times // _DAY_SECONDS * _DAY_SECONDS + _DAY_SECONDS).cast(
                pa.timestamp("s")
            ),
            "played_at": pa.array(times * 1_000 + rng.integers(0, 1_000, len(times))).cast(
                pa.timestamp("ms", "UTC")
            ),
            "listener": pa.array(users + _SNOWFLAKE),
            "track": pa.array(items + _SNOWFLAKE),
            "country": pa.array(country_of[users]),
            "seconds_played": pa.array(rng.integers(5, 300, len(users)), pa.int32()),
        }
    )
    number = len(log.items)
    numbers = pc.replace_substring(log.items["item_id"], "i", "").cast(pa.int64()).to_numpy()
    audio = pa.array(rng.normal(0, 0.3, number * 8), pa.float32())
    tracks = pa.table(
        {
            "row": pa.array(np.arange(number)),
            "track_id": pa.array(numbers + _SNOWFLAKE),
            "track_title": log.items["title"],
            "styles": log.items["genres"],
            "released": log.items["year"],
            "avg_rating": pa.array(rng.normal(4, 0.5, number)),
            "audio": pa.FixedSizeListArray.from_arrays(audio, 8),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "tracks.parquet", folder / "plays.parquet"]
    for path, table in zip(paths, (tracks, plays), strict=True):
        pq.write_table(table, path)
    return paths


def write_log_alone(log: Log, folder: Path) -> list[Path]:
    """Write a log alone, as JSON Lines: what is known of users and products stands in its rows.

    Args:
        log: The planted tables.
        folder: Where it is written.

    Returns:
        The file.
    """
    joined = log.interactions.join(log.items.select(["item_id", "title", "year"]), "item_id").join(
        log.users.select(["user_id", "gender", "occupation"]), "user_id"
    )
    joined = joined.sort_by("timestamp")
    times = show_times(joined["timestamp"], "%Y-%m-%d %H:%M:%S")
    names = {
        "visitor": joined["user_id"],
        "sku": joined["item_id"],
        "when": times,
        "stars": joined["rating"].cast(pa.int64()),
        "gender": joined["gender"],
        "job": joined["occupation"],
        "product_name": joined["title"],
        "model_year": joined["year"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "reviews.jsonl"
    pa.table(names).to_pandas().to_json(path, orient="records", lines=True)
    return [path]


def write_million(folder: Path, rows: int) -> dict[str, list[Path]]:
    """Write the same tables as Parquet and as CSV, for the seconds of `dssm init`.

    Args:
        folder: Where they are written.
        rows: Interactions.

    Returns:
        The files by format.
    """
    parquet = folder / "parquet"
    users, items = max(50, rows // 50), max(20, rows // 200)
    write_synthetic(parquet, users=users, items=items, interactions=rows, days=90, seed=1)
    names = ("interactions", "users", "items")
    text = folder / "csv"
    text.mkdir(parents=True, exist_ok=True)
    for name in names:
        table = pq.read_table(parquet / f"{name}.parquet")
        if "genres" in table.column_names:
            place = table.column_names.index("genres")
            table = table.set_column(place, "genres", pc.binary_join(table["genres"], "|"))
        pa.csv.write_csv(table, text / f"{name}.csv")
    return {
        "parquet": [parquet / f"{name}.parquet" for name in names],
        "csv": [text / f"{name}.csv" for name in names],
    }


def _play_again(
    users: np.ndarray, items: np.ndarray, again: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replace items by one of the user's last few."""
    played = items.copy()
    recent: dict[int, list[int]] = {}
    for place, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        own = recent.setdefault(user, [])
        if again[place] and own:
            played[place] = own[-1 - int(min(len(own) - 1, rng.geometric(0.3) - 1))]
        else:
            own.append(item)
    return played
