"""What a column holds: its kind, its values and how often each stands there."""

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.sources.numbers import Decimal, point_fractions
from components.interaction_ingest.sources.times import to_time
from pipeline.first_look.tables import SampledTable
from schemas.errors import DataError

Kind = Literal["int", "float", "bool", "text", "time", "date", "texts", "numbers", "other"]
"""What the values of a column are; `texts` and `numbers` are lists."""

ListFormat = Literal["separated", "json", "python"]
"""How a list is written as one text, as in the schema file."""

LIST_SEPARATORS: Final = ("|", ";", ", ", ",")
"""What may stand between the values of a list within a text."""
_INTEGER: Final = r"^\s*[+-]?\d{1,18}\s*$"
# Longer than a 64-bit integer takes: an id.
_DIGITS: Final = r"^\s*\d+\s*$"
_FLOAT: Final = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_LEADING_ZERO: Final = r"^\s*[+-]?0\d"
_DAY: Final = r"^\s*\d{4}-\d\d-\d\d"
_LISTS_LOOKED_AT: Final = 20_000
_IN_BRACKETS: Final = r"(?s)^\s*(\[.*\]|\(.*\))\s*$"
_LIST_READERS: Final[tuple[tuple[ListFormat, Callable[[str], Any]], ...]] = (
    ("json", json.loads),
    ("python", ast.literal_eval),
)
# The largest integer up to which a float tells every integer from the next.
_EXACT: Final = 2**53


@dataclass(frozen=True)
class ListSyntax:
    """How the lists of a column are written as texts."""

    format: ListFormat = "separated"
    """`list_format` of the schema file."""
    separator: str = "|"
    """`list_separator` of the schema file."""


@dataclass(frozen=True)
class ColumnProfile:
    """What a column of a table's sample holds."""

    name: str
    """Its name in the files."""
    kind: Kind
    """What its values are."""
    rows: int
    """Rows of the sample."""
    codes: npt.NDArray[np.int32]
    """[rows] place of each value in `values`, -1 where it is missing; of lists whether there is one."""
    values: pa.Array
    """[distinct] the values, each once; of lists the values within them."""
    list_syntax: ListSyntax | None = None
    """How a list is written that is a text; None of other columns."""
    length: int | None = None
    """Numbers of each list; None where their number differs, and of other columns."""
    type: pa.DataType | None = None
    """The type in the file; None of text formats."""

    @cached_property
    def missing(self) -> int:
        """Number of rows without a value."""
        return int((self.codes < 0).sum())

    @property
    def present(self) -> int:
        """Number of rows with a value."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return len(self.values)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """[distinct] how often each value stands there."""
        return np.bincount(self.codes[self.codes >= 0], minlength=self.distinct).astype(np.int64)

    @cached_property
    def texts(self) -> pa.Array:
        """[distinct] the values as texts, as ids are compared."""
        if self.kind in ("int", "bool", "text"):
            return pc.utf8_trim_whitespace(self.values.cast(pa.string()))
        if self.kind == "float" and self.is_whole:
            return self.values.cast(pa.int64()).cast(pa.string())
        return self.values.cast(pa.string())

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """[distinct] the values as numbers."""
        return np.asarray(
            self.values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )

    @cached_property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers, such as what pandas makes of ids where one is missing."""
        if self.kind != "float" or not self.distinct:
            return self.kind == "int"
        return bool(((self.numbers == np.floor(self.numbers)) & (np.abs(self.numbers) <= _EXACT)).all())

    @property
    def is_unique(self) -> bool:
        """Whether hardly a value stands there twice."""
        return self.present > 1 and self.distinct >= 0.98 * self.present

    @property
    def is_number(self) -> bool:
        """Whether its values are single numbers."""
        return self.kind in ("int", "float")


def profile_table(table: SampledTable) -> dict[str, ColumnProfile]:
    """Find out what the columns of a table hold.

    Args:
        table: The table.

    Returns:
        The columns by name, in the order of the table.
    """
    return {
        name: profile_column(name, table.columns.column(name), table.is_text, table.source.decimal)
        for name in table.columns.column_names
    }


def profile_column(
    name: str, column: pa.ChunkedArray, is_text_format: bool = False, decimal: Decimal = "."
) -> ColumnProfile:
    """Find out what a column holds.

    Args:
        name: Its name.
        column: [rows].
        is_text_format: Whether the format has no types, so that texts stand for numbers, times and lists.
        decimal: What stands before the fraction of a number that is a text.

    Returns:
        The profile.
    """
    kind = _kind_of(column.type)
    if kind in ("texts", "numbers"):
        return _profile_lists(name, column, kind)
    if kind == "other":
        present = column.is_valid().to_numpy()
        return ColumnProfile(
            name, kind, len(column), np.where(present, 0, -1).astype(np.int32), pa.array([], pa.string())
        )
    values, codes = _encode(column)
    profile = ColumnProfile(name, kind, len(column), codes, values, type=column.type)
    if kind != "text":
        return profile
    if is_text_format:
        return _profile_texts(profile, decimal)
    if _all_match(values, _DAY) and _is_time(values):
        return _with(profile, kind="time")
    return _parse_lists(profile) or profile


def _kind_of(kind: pa.DataType) -> Kind:
    types = pa.types
    if types.is_dictionary(kind):
        return _kind_of(kind.value_type)
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        return "int"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float"
    if types.is_timestamp(kind):
        return "time"
    if types.is_date(kind):
        return "date"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        of_values = _kind_of(kind.value_type)
        return "texts" if of_values == "text" else "numbers" if of_values in ("int", "float") else "other"
    return "other"


def _encode(column: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int32]]:
    """Give the distinct values and the place of each row's; a float that is not finite is missing."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    # What is encoded here has one dictionary for all chunks; to unify it is quadratic in their number.
    is_encoded = pa.types.is_dictionary(column.type)
    column = column.unify_dictionaries() if is_encoded else column.dictionary_encode()
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], column.type)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return encoded.dictionary, codes


def _profile_texts(profile: ColumnProfile, decimal: Decimal) -> ColumnProfile:
    """Find out what the texts of a format without types stand for."""
    values = profile.values
    if not len(values):
        return profile
    if _all_match(values, _INTEGER):
        if pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
            return profile
        return _with(profile, kind="int", values=_cast(values, pa.int64()))
    pointed = point_fractions(values, decimal)
    if _all_match(pointed, _FLOAT) and not _all_match(values, _DIGITS):
        try:
            return _with(profile, kind="float", values=_cast(pointed, pa.float64()))
        except pa.ArrowInvalid:
            return profile
    if _all_match(values, _DAY) and _is_time(values):
        return _with(profile, kind="time")
    return _parse_lists(profile) or _split_lists(profile)


def _with(profile: ColumnProfile, **changes: Any) -> ColumnProfile:
    # Not dataclasses.replace, which a cached property of the old one would not follow.
    fields = {name: getattr(profile, name) for name in ColumnProfile.__dataclass_fields__}
    changed = ColumnProfile(**(fields | changes))
    if "values" not in changes or changed.kind not in ("int", "float"):
        return changed
    # 1 and 01 or 1.0 and 1.00 are one value.
    encoded = changed.values.dictionary_encode()
    places = encoded.indices.to_numpy()
    codes = np.where(changed.codes >= 0, places[changed.codes], -1).astype(np.int32)
    return ColumnProfile(**(fields | changes | {"values": encoded.dictionary, "codes": codes}))


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return pc.utf8_trim_whitespace(values).cast(kind)


def _all_match(values: pa.Array, pattern: str) -> bool:
    return bool(len(values)) and bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _is_time(values: pa.Array) -> bool:
    try:
        to_time(values.cast(pa.string()))
    except (pa.ArrowInvalid, DataError):
        return False
    return True


def _split_lists(profile: ColumnProfile) -> ColumnProfile:
    """Take texts for lists where the same few values come again in many of them."""
    texts = profile.values.slice(0, _LISTS_LOOKED_AT)
    for separator in LIST_SEPARATORS:
        parts = pc.split_pattern(texts, separator)
        with_several = pc.mean(pc.greater(pc.list_value_length(parts), 1).cast(pa.int8())).as_py()
        distinct = pc.unique(pc.utf8_trim_whitespace(parts.flatten()))
        words = pc.mean(pc.count_substring(distinct, " ")).as_py() or 0
        # A sentence has separators too, but its parts are long, and seldom the same.
        if with_several >= 0.3 and len(distinct) <= 0.5 * len(texts) and words <= 2:
            whole = pc.split_pattern(profile.values, separator)
            return ColumnProfile(
                profile.name,
                "texts",
                profile.rows,
                profile.codes,
                pc.unique(whole.flatten()),
                ListSyntax(separator=separator),
            )
    return profile


def _parse_lists(profile: ColumnProfile) -> ColumnProfile | None:
    """Take texts for lists where all of them stand in brackets and are read; None where one does not."""
    texts = profile.values.slice(0, _LISTS_LOOKED_AT)
    if not _all_match(texts, _IN_BRACKETS):
        return None
    for name, parse in _LIST_READERS:
        lists = _parse_all(texts.to_pylist(), parse)
        if lists is None:
            continue
        elements = [element for one in lists for element in one if element is not None]
        if all(isinstance(element, int | float) and not isinstance(element, bool) for element in elements):
            lengths = {len(one) for one in lists if one}
            kind, values = "numbers", pa.array([], pa.float64())
            length = lengths.pop() if len(lengths) == 1 else None
        else:
            kind, values, length = "texts", pc.unique(pa.array(map(str, elements), pa.string())), None
        return _with(
            profile, kind=kind, values=values, length=length, list_syntax=ListSyntax(name), type=None
        )
    return None


def _parse_all(texts: list[str], parse: Callable[[str], Any]) -> list[Sequence[Any]] | None:
    """Read lists of single values; None where a text is none."""
    lists: list[Sequence[Any]] = []
    for text in texts:
        try:
            found = parse(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
        if not isinstance(found, list | tuple):
            return None
        if not all(element is None or isinstance(element, str | int | float) for element in found):
            return None
        lists.append(found)
    return lists


def _profile_lists(name: str, column: pa.ChunkedArray, kind: Kind) -> ColumnProfile:
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy()
    codes = np.where(lengths >= 0, 0, -1).astype(np.int32)
    flat = pc.list_flatten(column)
    distinct = pc.unique(flat).drop_null() if kind == "texts" else pa.array([], pa.float64())
    whole = np.unique(lengths[lengths > 0])
    length = int(whole[0]) if kind == "numbers" and len(whole) == 1 else None
    return ColumnProfile(name, kind, len(column), codes, distinct, length=length, type=column.type)
