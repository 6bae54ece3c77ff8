"""How times are written as text where it is not ISO 8601, in the signs of strptime."""

import datetime
import itertools
import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

# Where day and month cannot be told apart, the day comes first.
_DATES: Final = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d",
    "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y", "%d/%b/%Y",
)  # fmt: skip
_CLOCKS: Final = (
    "",
    " %H:%M",
    " %H:%M:%S",
    " %I:%M %p",
    " %I:%M:%S %p",
    ", %H:%M",
    ", %H:%M:%S",
    ":%H:%M:%S",
)
_LOOKS_LIKE_ONE: Final = re.compile(
    r"(\d{1,4}|[A-Za-z]{3,9})[ ./-]([A-Za-z]{3,9}|\d{1,2},?)[ ./-]\d{1,4}\b.*"
)
_TEXTS_LOOKED_AT: Final = 200


def find_time_formats(texts: pa.Array) -> tuple[str, ...]:
    """Find the formats that read times.

    Args:
        texts: [values] string.

    Returns:
        Those by which all of them are read, the likeliest first; none of ISO 8601.
    """
    shown = pc.utf8_trim_whitespace(texts.slice(0, _TEXTS_LOOKED_AT).drop_null()).to_pylist()
    if not shown or not all(_LOOKS_LIKE_ONE.fullmatch(text) for text in shown):
        return ()
    formats = ("".join(parts) for parts in itertools.product(_DATES, _CLOCKS))
    fitting = [one for one in formats if all(_is_read(text, one) for text in shown)]
    return tuple(one for one in fitting if read_formatted(texts, one).null_count == texts.null_count)


def read_formatted(texts: pa.Array, time_format: str) -> pa.Array:
    """Read times by a format, fast; what the ingest refuses, such as 30 February, may be a day near it.

    Args:
        texts: [values] string.
        time_format: How they are written.

    Returns:
        [values] timestamp of seconds, null where a text is none.
    """
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    return pc.strptime(trimmed, format=time_format, unit="s", error_is_null=True)


def _is_read(text: str, time_format: str) -> bool:
    try:
        datetime.datetime.strptime(text, time_format)
    except ValueError:
        return False
    return True
