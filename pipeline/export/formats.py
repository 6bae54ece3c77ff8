"""The formats of an export: one file a format, and one line here."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.export.content import ExportedItems

# By name, so that the command line can list them without importing what writes them.
MODULES: Final[Mapping[str, str]] = {
    "milvus": "pipeline.export.milvus",
    "parquet": "pipeline.export.parquet",
    "qdrant": "pipeline.export.qdrant",
    "vertex": "pipeline.export.vertex",
}
"""The module of each format, which defines `FORMAT`."""


@dataclass(frozen=True)
class ExportFormat:
    """How items are written for a target."""

    rows_per_file: int
    """Items of a file, if nothing else is said."""
    metric: str
    """What the target calls the inner product, by which the items are to be searched."""
    write: "Callable[[ExportedItems, Path, int], None]"
    """Writes the items and what is deleted to a folder that is there, with so many items a file. What the
    target cannot hold is a DssmError."""
    reserved: tuple[str, ...] = ()
    """Names that no column may have."""


def load_format(name: str) -> ExportFormat:
    """Load a format.

    Args:
        name: One of `MODULES`.

    Returns:
        The format.
    """
    return importlib.import_module(MODULES[name]).FORMAT
