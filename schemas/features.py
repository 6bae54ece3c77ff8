"""The features of a data set, declared once: everything downstream follows from a FeatureSpec."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT, parse
from schemas.yaml_files import load_yaml, locate

Tower = Literal["user", "item", "context"]
Dtype = Literal["string", "int", "float"]


@dataclass(frozen=True, config=STRICT)
class VocabularyEncoding:
    """One embedding row per distinct value seen in training, and some for unseen values."""

    kind: Literal["vocabulary"]
    """The literal `vocabulary`."""
    oov_buckets: Annotated[int, Field(ge=1)] = 1
    """Embedding rows shared by the values that were not seen in training."""


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


Encoding = Annotated[VocabularyEncoding | BucketizeEncoding | ZScoreEncoding, Field(discriminator="kind")]


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
    default: str | int | float | None = None
    """Stands in for a missing value; without one a missing value is refused."""
    values: tuple[str, ...] | None = None
    """The only values a string may have; others are anomalies that stop the run."""
    minimum: int | float | None = None
    """The smallest value that a number may have; smaller ones are anomalies that stop the run."""
    maximum: int | float | None = None
    """The largest value that a number may have; larger ones are anomalies that stop the run."""

    @model_validator(mode="after")
    def _check(self) -> "Feature":
        _check_name("feature", self.name)
        is_number = self.dtype != "string"
        if self.role is not None:
            if self.dtype != "string" or self.multi_valued or self.default is not None:
                raise ValueError(f"feature {self.name!r}: an id is a single string without a default")
            if self.role != f"{self.tower}_id":
                raise ValueError(
                    f"feature {self.name!r}: role {self.role!r} does not fit tower {self.tower!r}"
                )
            if self.encoding is not None and self.encoding.kind != "vocabulary":
                raise ValueError(
                    f"feature {self.name!r}: an id is encoded with kind 'vocabulary' or not at all"
                )
        if self.encoding is not None:
            if self.encoding.kind != "vocabulary" and (not is_number or self.multi_valued):
                raise ValueError(f"feature {self.name!r}: {self.encoding.kind} needs a single int or float")
            if self.encoding.kind == "vocabulary" and self.dtype == "float":
                raise ValueError(f"feature {self.name!r}: a vocabulary needs dtype string or int")
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

    @model_validator(mode="after")
    def _check(self) -> "History":
        _check_name("history", self.name)
        return self


@dataclass(frozen=True, config=STRICT)
class InteractionTable:
    """The log of interactions; it holds both id columns and the context features."""

    file: str = "interactions.parquet"
    """File name within the data directory."""
    timestamp: str = "timestamp"
    """Column with the time of the interaction: integer seconds since 1970, or a timestamp type."""


@dataclass(frozen=True, config=STRICT)
class UserTable:
    """One row per user."""

    file: str = "users.parquet"
    """File name within the data directory."""


@dataclass(frozen=True, config=STRICT)
class ItemTable:
    """One row per item: the catalogue."""

    file: str = "items.parquet"
    """File name within the data directory."""
    display: tuple[str, ...] = ()
    """Columns shown with a recommendation; they need not be features."""


@dataclass(frozen=True, config=STRICT)
class Tables:
    """Where the three tables are."""

    interactions: InteractionTable = Field(default_factory=InteractionTable)
    """The interaction log."""
    users: UserTable = Field(default_factory=UserTable)
    """The user table."""
    items: ItemTable = Field(default_factory=ItemTable)
    """The item table."""


@dataclass(frozen=True, config=STRICT)
class FeatureSpec:
    """Every feature of a data set."""

    name: str
    """Name of the data set."""
    features: tuple[Feature, ...]
    """The columns in use."""
    tables: Tables = Field(default_factory=Tables)
    """Where the columns are."""
    history: History | None = None
    """The user's recent positives; without this key the user tower has no history."""

    @model_validator(mode="after")
    def _check(self) -> "FeatureSpec":
        names = [feature.name for feature in self.features] + [self.timestamp]
        if self.history is not None:
            names.append(self.history.name)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"names must be unique over features, timestamp and history: {repeated} repeat")
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
        return self

    @property
    def timestamp(self) -> str:
        """Name of the timestamp column; in the examples it is int64 seconds since 1970."""
        return self.tables.interactions.timestamp

    @property
    def user_id(self) -> Feature:
        """The feature with role `user_id`."""
        return next(feature for feature in self.features if feature.role == "user_id")

    @property
    def item_id(self) -> Feature:
        """The feature with role `item_id`."""
        return next(feature for feature in self.features if feature.role == "item_id")

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
