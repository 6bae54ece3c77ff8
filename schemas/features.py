"""The features of a data set, declared once: everything downstream follows from a FeatureSpec."""

import datetime
import difflib
import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass

from schemas.contract import RESERVED_NAMES
from schemas.strict_config import STRICT, parse
from schemas.yaml_files import load_yaml, locate

Tower = Literal["user", "item", "context"]
Dtype = Literal["string", "int", "float"]
TimePart = Literal["seconds", "days", "year", "month", "day", "weekday", "hour"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns", "yyyymmdd"]


@dataclass(frozen=True, config=STRICT)
class VocabularyEncoding:
    """One embedding row per distinct value seen in training, and some for unseen values."""

    kind: Literal["vocabulary"]
    """The literal `vocabulary`."""
    oov_buckets: Annotated[int, Field(ge=1)] = 1
    """Embedding rows shared by the values that are not in the vocabulary."""
    minimum_count: Annotated[int, Field(ge=1)] = 1
    """How often the train split must hold a value for it to be in the vocabulary."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """The vocabulary holds at most so many values, the most frequent ones. Null: all."""


@dataclass(frozen=True, config=STRICT)
class BucketizeEncoding:
    """One embedding row per quantile of a number."""

    kind: Literal["bucketize"]
    """The literal `bucketize`."""
    buckets: Annotated[int, Field(ge=2)]
    """Number of quantile buckets, their boundaries computed over the train split."""


@dataclass(frozen=True, config=STRICT)
class ZScoreEncoding:
    """A number scaled to mean 0 and standard deviation 1 over the train split."""

    kind: Literal["z_score"]
    """The literal `z_score`."""


@dataclass(frozen=True, config=STRICT)
class VectorEncoding:
    """A list of numbers as it is, such as a pretrained embedding, through a dense layer."""

    kind: Literal["vector"]
    """The literal `vector`."""


@dataclass(frozen=True, config=STRICT)
class TextEncoding:
    """The mean of the embeddings of a text's n-grams, each hashed to one of a number of rows."""

    kind: Literal["text"]
    """The literal `text`."""
    buckets: Annotated[int, Field(ge=2)]
    """Embedding rows; n-grams of one bucket share a row."""
    ngrams: Annotated[int, Field(ge=1, le=5)] = 1
    """Longest n-gram, in words: 2 stands for single words and pairs of neighbours. Words are lower-cased runs
    of letters, marks and digits."""


@dataclass(frozen=True, config=STRICT)
class HashedEncoding:
    """One embedding row per hash bucket: no vocabulary, so values may come and go."""

    kind: Literal["hashed"]
    """The literal `hashed`."""
    buckets: Annotated[int, Field(ge=2)]
    """Embedding rows; values of one bucket share a row. Several times as many as values keep that rare."""


Encoding = Annotated[
    VocabularyEncoding | BucketizeEncoding | ZScoreEncoding | VectorEncoding | TextEncoding | HashedEncoding,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, config=STRICT)
class Feature:
    """One column: where it comes from, its type, and how its tower reads it."""

    name: str
    """The column's name, also the name of the serving input."""
    dtype: Dtype
    """`string`, `int` (64 bit) or `float` (32 bit)."""
    tower: Tower
    """The table it is read from: `user`, `item`, or `context` for a column of the interactions.
    A context feature feeds the user tower."""
    encoding: Encoding | None = None
    """How the tower reads it; without one it is carried along but no tower sees it."""
    role: Literal["user_id", "item_id"] | None = None
    """Marks the two ids that join the tables."""
    multi_valued: bool = False
    """Whether a row holds a list of values (strings only)."""
    length: Annotated[int, Field(ge=1)] | None = None
    """Numbers in a row's list (dtype float); every row has so many. Null: a single value."""
    time_part: TimePart | None = None
    """What of a date or time the number is, in UTC: `seconds` or `days` since 1970, `year`, `month` (from 1),
    `day` of the month, `weekday` (0 is Monday) or `hour`. The column holds dates, timestamps, ISO 8601 or
    seconds since 1970, and several features may be made of it. Null: the column holds the value itself."""
    default: str | int | float | None = None
    """Stands in for a missing value; without one a missing value is refused. For a list of numbers: what each
    of them is."""
    values: tuple[str, ...] | None = None
    """The only values a string may have; others are anomalies that stop the run."""
    minimum: int | float | None = None
    """The smallest value that a number may have; smaller ones are anomalies that stop the run."""
    maximum: int | float | None = None
    """The largest value that a number may have; larger ones are anomalies that stop the run."""
    drift_threshold: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The largest distance of the train split from that of the current release: of strings and encoded labels
    the L-infinity distance, the largest change of a value's share of the values; of other numbers the
    Jensen-Shannon divergence. `gate.fatal_drift` says whether more stops the run. Null: never too large."""

    @model_validator(mode="after")
    def _check(self) -> "Feature":
        _check_name("feature", self.name)
        is_number = self.dtype != "string"
        if self.role is not None:
            if self.dtype != "string":
                raise ValueError(
                    f"feature {self.name!r}: expected dtype: string, since ids are texts inside, also those "
                    f"that are whole numbers in the tables. Received: dtype: {self.dtype}. Write dtype: "
                    "string; the tables can stay as they are"
                )
            if self.multi_valued or self.default is not None:
                raise ValueError(f"feature {self.name!r}: an id is a single string without a default")
            if self.role != f"{self.tower}_id":
                raise ValueError(
                    f"feature {self.name!r}: role {self.role!r} does not fit tower {self.tower!r}"
                )
            if self.encoding is not None and self.encoding.kind not in ("vocabulary", "hashed"):
                raise ValueError(
                    f"feature {self.name!r}: an id is encoded with kind 'vocabulary' or 'hashed', or not at "
                    "all"
                )
        self._check_encoding()
        if self.length is not None and self.dtype != "float":
            raise ValueError(f"feature {self.name!r}: 'length' is for lists of floats; set dtype to float")
        if self.drift_threshold is not None and (
            self.length is not None or (self.encoding is not None and self.encoding.kind == "text")
        ):
            raise ValueError(
                f"feature {self.name!r}: the drift of a text or a vector is not measured; leave "
                "drift_threshold out"
            )
        if self.time_part is not None and (not is_number or self.length is not None):
            raise ValueError(
                f"feature {self.name!r}: time_part gives a single number; set dtype to int or float"
            )
        if self.multi_valued and is_number:
            raise ValueError(f"feature {self.name!r}: only strings can be multi_valued")
        if self.values is not None and is_number:
            raise ValueError(f"feature {self.name!r}: 'values' is for strings; use minimum and maximum")
        if (self.minimum is not None or self.maximum is not None) and not is_number:
            raise ValueError(f"feature {self.name!r}: minimum and maximum are for numbers; use 'values'")
        if self.values is not None and not self.values:
            raise ValueError(
                f"feature {self.name!r}: 'values' is empty, so no value would be allowed; leave it out"
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"feature {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")
        self._check_default()
        return self

    def _check_encoding(self) -> None:
        if self.encoding is None:
            return
        kind = self.encoding.kind
        if kind in ("bucketize", "z_score") and (self.dtype == "string" or self.is_list):
            raise ValueError(f"feature {self.name!r}: {kind} needs a single int or float")
        if kind in ("vocabulary", "hashed") and self.dtype == "float":
            what = "a vocabulary" if kind == "vocabulary" else "hashed"
            raise ValueError(f"feature {self.name!r}: {what} needs dtype string or int")
        if kind == "vector" and self.length is None:
            raise ValueError(
                f"feature {self.name!r}: vector needs dtype float and 'length', the numbers in every row"
            )
        if kind == "text" and (self.dtype != "string" or self.multi_valued):
            raise ValueError(f"feature {self.name!r}: text needs a single string")

    @property
    def is_list(self) -> bool:
        """Whether a row holds a list, of strings or of numbers."""
        return self.multi_valued or self.length is not None

    @property
    def is_categorical(self) -> bool:
        """Whether its values are labels: strings that are no free text, and integers encoded as labels."""
        if self.dtype == "string":
            return self.encoding is None or self.encoding.kind != "text"
        return self.encoding is not None and self.encoding.kind in ("vocabulary", "hashed")

    @property
    def default_value(self) -> Any:
        """What stands in a row for a missing value: a value, a list, or None without a default."""
        if self.default is None or not self.is_list:
            return self.default
        return [self.default] * (self.length or 1)

    def _check_default(self) -> None:
        if self.default is None:
            return
        expected: tuple[type, ...] = {"string": (str,), "int": (int,), "float": (int, float)}[self.dtype]
        if not isinstance(self.default, expected):
            raise ValueError(f"feature {self.name!r}: default {self.default!r} is no {self.dtype}")
        # It would be written into the examples and then stop the run as an anomaly.
        if self.values is not None and self.default not in self.values:
            raise ValueError(
                f"feature {self.name!r}: default {self.default!r} is none of its values {self.values}"
            )
        if not isinstance(self.default, str):
            too_small = self.minimum is not None and self.default < self.minimum
            too_large = self.maximum is not None and self.default > self.maximum
            if too_small or too_large:
                raise ValueError(
                    f"feature {self.name!r}: default {self.default} is outside minimum and maximum"
                )


@dataclass(frozen=True, config=STRICT)
class History:
    """The user's last positives before the row, as item ids in time order."""

    name: str = "history"
    """Name of the feature and of the serving input: [batch, length] string, left-padded with ''."""
    length: Annotated[int, Field(ge=1)] = 20
    """Number of positives kept, the newest last."""
    item_features: tuple[str, ...] = ()
    """Item features carried beside the ids, such as [genres, year]: feature f of the history's items is the
    column `<name>_<f>`, encoded as in the item tower."""
    values_per_item: Annotated[int, Field(ge=1)] = 6
    """Values of a multi-valued item feature, or n-grams of a text, kept for each item of the history; of
    multi-valued features the ones left out are counted."""
    time_gap_buckets: Annotated[int, Field(ge=2)] | None = None
    """Quantile buckets of the seconds from each interaction of the history to the row's own, the column
    `<name>_gap_seconds`; null: the user tower does not see them."""

    @model_validator(mode="after")
    def _check(self) -> "History":
        _check_name("history", self.name)
        repeated = sorted({name for name in self.item_features if self.item_features.count(name) > 1})
        if repeated:
            raise ValueError(f"expected each of item_features once. Received twice: {repeated}")
        return self

    def feature_column(self, feature: str) -> str:
        """Name the serving input with an item feature of the history's items.

        Args:
            feature: One of `item_features`.

        Returns:
            The input's name; in training it is gathered from the items.
        """
        return f"{self.name}_{feature}"

    def feature_shape(self, feature: Feature) -> tuple[int, ...]:
        """Tell the shape of a row in the column of an item feature.

        Args:
            feature: One of `item_features`.

        Returns:
            (length,) of single values; (length, values_per_item) of multi-valued features, each item's
            values first and then padding; (length, numbers) of lists of numbers.
        """
        if feature.multi_valued:
            return (self.length, self.values_per_item)
        return (self.length,) if feature.length is None else (self.length, feature.length)

    @property
    def gap_column(self) -> str:
        """Name of the column with the seconds to the row's own interaction; int64, -1 where there is none."""
        return f"{self.name}_gap_seconds"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the history: the ids, the item features, and the gaps where they are asked for."""
        gaps = () if self.time_gap_buckets is None else (self.gap_column,)
        return (self.name, *map(self.feature_column, self.item_features), *gaps)


Format = Literal["parquet", "csv", "jsonl", "tfrecord", "avro"]


@dataclass(frozen=True, config=STRICT)
class TableSource:
    """How a table's files are read."""

    format: Format | None = None
    """`parquet`, `csv`, `jsonl` (an object per line), `tfrecord` (tf.Example) or `avro`.
    Null: what the names of the files end in, before .gz or .zst."""
    columns: dict[str, str] = Field(default_factory=dict)
    """What the files call a column, by its name here: {item: product_id}. Others have the same name."""
    delimiter: Annotated[str, Field(min_length=1)] = ","
    """What stands between the fields of a CSV file, one character or several, such as `::`."""
    header: tuple[str, ...] | None = None
    """Names of the columns of a CSV file that has none, in their order; null: its first row names them."""
    encoding: str = "utf-8"
    """Encoding of CSV and JSON Lines files, such as `latin-1`. UTF-16 is told by its byte-order mark."""
    decimal: Literal[".", ","] = "."
    """What stands before the fraction of a number that is written as text."""
    list_separator: Annotated[str, Field(min_length=1)] = "|"
    """What stands between the values of a list that is written as one text."""
    list_format: Literal["separated", "json", "python"] = "separated"
    """How a list is written as one text: `separated` as A|B, `json` as ["A", "B"], `python` as ['A', 'B'] or
    ('A', 'B')."""

    @model_validator(mode="after")
    def _check_text(self) -> "TableSource":
        if any(mark in self.delimiter for mark in '"\r\n'):
            raise ValueError(
                "delimiter: expected no quotation mark and no line break, which have their own meaning. "
                f"Received: {self.delimiter!r}"
            )
        if self.header is not None and (not self.header or len(set(self.header)) < len(self.header)):
            raise ValueError(
                f"header: expected a name for each column, each once. Received: {list(self.header)}"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(
                "encoding: expected one that Python knows, such as utf-8, latin-1 or cp1252. "
                f"Received: {self.encoding!r}"
            ) from None
        return self


@dataclass(frozen=True, config=STRICT)
class InteractionTable(TableSource):
    """The log of interactions; it holds both id columns and the context features."""

    file: str = "interactions.parquet"
    """A file, a folder or a pattern with *, ? and **, within the data directory, or a path or URI of its own.
    {date} stands for a day, such as 2026-11-22, {SPAN} for a day counted from 1970-01-01: of daily logs, only
    the days of the run's window are read."""
    timestamp: str = "timestamp"
    """Column with the time of the interaction: a number in `unit`, a date, a timestamp, or a text in ISO 8601
    or `time_format`."""
    unit: TimeUnit = "s"
    """What times that are numbers count since 1970: `s`, `ms`, `us` or `ns`; `yyyymmdd` are dates such as
    20200913. `auto`: the one that makes the log's times lie between 1990 and now, told in the ingest's
    report; where none or more than one does, the run stops."""
    time_format: str | None = None
    """How times are written as text, in the signs of Python's strptime, such as `%d.%m.%Y %H:%M`; UTC without
    an offset (`%z`). Null: as ISO 8601, or as numbers."""

    @property
    def timestamp_source(self) -> str:
        """What the files call the timestamp column."""
        return self.columns.get(self.timestamp, self.timestamp)

    @model_validator(mode="after")
    def _check_time_format(self) -> "InteractionTable":
        if self.time_format is None:
            return self
        moment = datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
        try:
            read = datetime.datetime.strptime(moment.strftime(self.time_format), self.time_format)
        except ValueError as error:
            raise ValueError(
                "time_format: expected the signs of Python's strptime, such as %d.%m.%Y %H:%M. "
                f"Received: {self.time_format!r} ({error})"
            ) from None
        if read.date() != moment.date():
            raise ValueError(
                "time_format: expected one that tells year, month and day, such as %d.%m.%Y. "
                f"Received: {self.time_format!r}"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class UserTable(TableSource):
    """One row per user."""

    file: str = "users.parquet"
    """A file, a folder or a pattern with *, ? and **, in the data directory, or a path or URI of its own."""


@dataclass(frozen=True, config=STRICT)
class ItemTable(TableSource):
    """One row per item: the catalogue."""

    file: str = "items.parquet"
    """A file, a folder or a pattern with *, ? and **, in the data directory, or a path or URI of its own."""
    display: tuple[str, ...] = ()
    """Columns shown with a recommendation; they need not be features. One that is missing is refused before
    anything is trained."""


@dataclass(frozen=True, config=STRICT)
class Tables:
    """Where the three tables are."""

    interactions: InteractionTable = Field(default_factory=InteractionTable)
    """The interaction log."""
    users: UserTable | None = None
    """The user table. Null: users.parquet, where there is a user feature besides the id; otherwise there is
    no such table, and the users are those of the interactions."""
    items: ItemTable | None = None
    """The item table. Null: items.parquet, where there is an item feature besides the id; otherwise there is
    no such table, and the items are those of the interactions."""

    @property
    def display(self) -> tuple[str, ...]:
        """The columns shown with a recommendation."""
        return () if self.items is None else self.items.display


@dataclass(frozen=True, config=STRICT)
class FeatureSpec:
    """Every feature of a data set."""

    name: str
    """Name of the data set."""
    features: tuple[Feature, ...]
    """The columns in use."""
    tables: Tables = Field(default_factory=Tables, validate_default=True)
    """Where the columns are."""
    history: History | None = None
    """The user's recent positives; without this key the user tower has no history."""

    @field_validator("tables")
    @classmethod
    def _look_for_features_in_tables(cls, tables: Tables, info: ValidationInfo) -> Tables:
        # Absent where they are wrong themselves.
        towers = [feature.tower for feature in info.data.get("features", ()) if feature.role is None]
        return replace(
            tables,
            users=tables.users or (UserTable() if "user" in towers else None),
            items=tables.items or (ItemTable() if "item" in towers else None),
        )

    @model_validator(mode="after")
    def _check(self) -> "FeatureSpec":
        names = [feature.name for feature in self.features] + [self.timestamp, *RESERVED_NAMES]
        if self.history is not None:
            names += self.history.columns
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                "names must be unique over features, timestamp, the history's columns and the reserved "
                f"{', '.join(RESERVED_NAMES)}: {repeated} repeat; choose another name, and map it "
                "to the column under 'columns' of the table"
            )
        for role in ("user_id", "item_id"):
            found = [feature.name for feature in self.features if feature.role == role]
            if len(found) != 1:
                raise ValueError(f"expected exactly one feature with role {role!r}. Received: {found}")
        if not self.tower_features("item"):
            raise ValueError("the item tower has no feature with an encoding")
        if not self.tower_features("user") and self.history is None:
            raise ValueError("the user tower has neither a feature with an encoding nor a history")
        if self.history is not None and self.item_id.encoding is None:
            raise ValueError(
                f"a history needs an encoding on the item id {self.item_id.name!r}, whose embedding it shares"
            )
        self._check_history_features()
        self._check_sources()
        return self

    def _check_sources(self) -> None:
        """Refuse one column under two names, but for parts of times."""
        tables = self.tables
        parts = {self.timestamp, *(f.name for f in self.features if f.time_part is not None)}
        for source in filter(None, (tables.interactions, tables.users, tables.items)):
            theirs = [their for name, their in source.columns.items() if name not in parts]
            repeated = sorted({name for name in theirs if theirs.count(name) > 1})
            if repeated:
                raise ValueError(
                    "expected each name once in the values of columns, but for features with a time_part. "
                    f"Received twice: {repeated}"
                )

    def _check_history_features(self) -> None:
        if self.history is None:
            return
        usable = [feature.name for feature in self.tower_features("item") if feature.role is None]
        for name in self.history.item_features:
            if name in usable:
                continue
            if name == self.item_id.name:
                raise ValueError(
                    f"history.item_features: the item id {name!r} is in every history; leave it out"
                )
            nearest = difflib.get_close_matches(name, usable, n=1, cutoff=0.0)
            raise ValueError(
                f"history.item_features: expected features of the item tower, with an encoding. "
                f"Received: {name!r}. "
                + (f"Did you mean {nearest[0]!r}?" if nearest else "There is none beside the item id.")
            )

    @property
    def timestamp(self) -> str:
        """Name of the timestamp column; in the sequences it is int64 seconds since 1970."""
        return self.tables.interactions.timestamp

    def is_of_log_time(self, feature: Feature) -> bool:
        """Tell whether a feature is a part of the interaction's time, which a request's own time has, too.

        Args:
            feature: A feature.

        Returns:
            Whether it is a context feature with a `time_part` of the log's timestamp column.
        """
        log = self.tables.interactions
        source = log.columns.get(feature.name, feature.name)
        return feature.tower == "context" and feature.time_part is not None and source == log.timestamp_source

    @property
    def user_id(self) -> Feature:
        """The feature with role `user_id`."""
        return next(feature for feature in self.features if feature.role == "user_id")

    @property
    def item_id(self) -> Feature:
        """The feature with role `item_id`."""
        return next(feature for feature in self.features if feature.role == "item_id")

    @property
    def history_features(self) -> tuple[Feature, ...]:
        """The item features carried in the history, in the order of `history.item_features`."""
        by_name = {feature.name: feature for feature in self.features}
        names = () if self.history is None else self.history.item_features
        return tuple(by_name[name] for name in names)

    def table_features(self, tower: Tower) -> tuple[Feature, ...]:
        """Return the features read from one table, ids included, in declaration order.

        Args:
            tower: `user`, `item` or `context`.

        Returns:
            The features whose `tower` it is.
        """
        return tuple(feature for feature in self.features if feature.tower == tower)

    def tower_features(self, tower: Literal["user", "item"]) -> tuple[Feature, ...]:
        """Return the features that a tower reads, in declaration order.

        Args:
            tower: `user` (with the context features) or `item`.

        Returns:
            The encoded features; the history is not among them.
        """
        towers = ("user", "context") if tower == "user" else ("item",)
        return tuple(f for f in self.features if f.tower in towers and f.encoding is not None)


def load_feature_spec(path: str) -> FeatureSpec:
    """Read a schema file.

    Args:
        path: A YAML file, from the working directory or shipped with the package.

    Returns:
        The specification.

    Raises:
        ConfigError: The file is missing or wrong.
    """
    file = locate(path)
    return parse(FeatureSpec, load_yaml(file), source=str(path))


def _check_name(what: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            f"{what} {name!r}: a name is letters, digits and underscores, a letter first, since it names"
            " a serving input and a vocabulary file; rename it"
        )
