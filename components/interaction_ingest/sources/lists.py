"""Lists as files hold them: as lists, and as texts."""

import ast
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import has_byte, list_array, to_mask
from components.interaction_ingest.sources.labels import clean_line_breaks, to_labels
from components.interaction_ingest.sources.numbers import point_fractions
from schemas.errors import DataError
from schemas.features import Feature, TableSource

_OTHER_SYNTAX: Final = "|".join(
    rf"\{opening}\s*\{closing}|\{opening}\s*[\"'].*\{closing}|\{opening}.*,.*\{closing}"
    for opening, closing in ("[]", "()", "{}")
)


def is_list(kind: pa.DataType) -> bool:
    """Tell a list from other types.

    Args:
        kind: A type.

    Returns:
        Whether it is a list, of any length and offsets.
    """
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def have_other_syntax(values: pa.Array, source: TableSource) -> npt.NDArray[np.bool_]:
    """Find texts that look like lists in another syntax than the table's separated one.

    Args:
        values: [rows] of any type.
        source: How lists are written.

    Returns:
        [rows] bool: whether the text is in brackets, with quotation marks or commas or nothing in them.
    """
    if source.list_format != "separated" or not pa.types.is_string(values.type):
        return np.zeros(len(values), bool)
    if not any(has_byte(values, opening) for opening in (b"[", b"(", b"{")):
        return np.zeros(len(values), bool)
    return to_mask(pc.match_substring_regex(values, rf"(?s)^\s*(?:{_OTHER_SYNTAX})\s*$"))


def to_lists(values: pa.Array, feature: Feature, source: TableSource) -> pa.Array:
    """Make lists of lists and of texts.

    Args:
        values: [rows] of any type.
        feature: The feature, labels or numbers.
        source: How lists and numbers are written as text.

    Returns:
        [rows] list of string, or of numbers, nulls kept, an empty text being an empty list.

    Raises:
        DataError: They are no lists, or of what the feature cannot be.
        pyarrow.ArrowInvalid: An element is no number.
    """
    if pa.types.is_string(values.type):
        values = _read_texts(values, feature, source)
    elif not (is_list(values.type) or pa.types.is_null(values.type)):
        raise DataError(f"expected a list. Received: {values.type}")
    is_text = is_list(values.type) and pa.types.is_string(values.type.value_type)
    if is_text or not feature.multi_valued or pa.types.is_null(values.type):
        return values
    return map_elements(values, to_labels)


def clean_elements(lists: pa.Array) -> tuple[pa.Array, int]:
    """Put a space in the place of line breaks of the labels in lists, as `clean_line_breaks` does.

    Args:
        lists: [rows] list of string.

    Returns:
        [rows] list of string, and the number of labels with a line break.
    """
    elements, count = clean_line_breaks(lists.flatten())
    return (map_elements(lists, lambda _: elements) if count else lists), count


def map_elements(lists: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Change the elements of lists.

    Args:
        lists: [rows] lists of any kind.
        change: Takes [elements], and gives as many.

    Returns:
        [rows] list of what it gives, nulls kept.
    """
    lengths = pc.list_value_length(lists)
    built = list_array(lengths.fill_null(0).to_numpy(zero_copy_only=False), change(lists.flatten()))
    return pc.if_else(lists.is_valid(), built, pa.scalar(None, built.type)) if lists.null_count else built


def _read_texts(values: pa.Array, feature: Feature, source: TableSource) -> pa.Array:
    if source.list_format == "separated":
        lists = pc.split_pattern(values, source.list_separator)
        is_empty = pc.equal(values, "").fill_null(False)
        lists = pc.if_else(is_empty, pa.scalar([], lists.type), lists)
        if feature.multi_valued or source.decimal == ".":
            return lists
        return map_elements(lists, lambda numbers: point_fractions(numbers, source.decimal))
    parse: Callable[[str], Any] = json.loads if source.list_format == "json" else ast.literal_eval
    kind = pa.string() if feature.multi_valued else pa.float64()
    distinct = values.dictionary_encode()
    lists = [_parse_list(text, parse, feature) for text in distinct.dictionary.to_pylist()]
    return pa.array(lists, pa.list_(kind)).take(distinct.indices)


def _parse_list(text: str, parse: Callable[[str], Any], feature: Feature) -> list[Any]:
    if not text.strip():
        return []
    try:
        value = parse(text.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise DataError(f"expected a list. Received: {text!r}") from error
    if not isinstance(value, list | tuple | set):
        raise DataError(f"expected a list. Received: {text!r}")
    # The order of a set is another one in each process.
    elements = sorted(value, key=str) if isinstance(value, set) else list(value)
    allowed = (str, int, float) if feature.multi_valued else (int, float)
    if not all(element is None or isinstance(element, allowed) for element in elements):
        raise DataError(f"expected a list of single values. Received: {text!r}")
    return [_show(element) for element in elements] if feature.multi_valued else elements


def _show(element: Any) -> str | None:
    return None if element is None else str(to_labels(pa.array([element]))[0].as_py())
