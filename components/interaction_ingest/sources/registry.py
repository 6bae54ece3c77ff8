"""The formats of source files: each is a module here, a line below, and a name in `schemas.features`."""

from collections.abc import Mapping
from typing import Final

from components.interaction_ingest.sources import avro, csv, json_lines, parquet, tfrecord
from components.interaction_ingest.sources.parts import SourceFormat

_FORMATS: Final = (
    parquet.FORMAT,
    csv.FORMAT,
    json_lines.FORMAT,
    tfrecord.FORMAT,
    avro.FORMAT,
)

FORMATS: Final[Mapping[str, SourceFormat]] = {one.name: one for one in _FORMATS}
"""Every format by its name."""

_BY_ENDING: Final = {ending: one for one in _FORMATS for ending in one.endings}


def find_by_ending(ending: str) -> SourceFormat | None:
    """Find the format of files by what their names end in.

    Args:
        ending: Such as `.csv`, in lower case.

    Returns:
        The format; None if no format's files end so.
    """
    return _BY_ENDING.get(ending)
