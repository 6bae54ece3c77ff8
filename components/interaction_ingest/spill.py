"""Batches between two Beam steps, as files: what travels through the runner is where they lie.

A runner's in-memory shuffle holds several hundred bytes per interaction, a file none. The folder must be on a
file system that all workers mount.
"""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

_COMPRESSION = "lz4"


@dataclasses.dataclass(frozen=True)
class Spilled:
    """A batch in a file."""

    path: str
    """An Arrow IPC file."""
    index: int
    """The batch's index in the file."""


def write_spill(folder: Path, parts: Mapping[int, pa.RecordBatch]) -> dict[int, Spilled]:
    """Write batches into a file of their own.

    A bundle that is run again writes another file, and the first one is never read.

    Args:
        folder: Where the file goes.
        parts: The batches by bucket, all with the same columns.

    Returns:
        Per bucket where its batch lies.
    """
    if not parts:
        return {}
    path = folder / f"{uuid.uuid4().hex}.arrow"
    schema = next(iter(parts.values())).schema
    options = pa.ipc.IpcWriteOptions(compression=_COMPRESSION)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        for batch in parts.values():
            writer.write_batch(batch)
    return {bucket: Spilled(str(path), index) for index, bucket in enumerate(parts)}


def read_spill(spilled: Iterable[Spilled]) -> list[pa.RecordBatch]:
    """Read batches back.

    Args:
        spilled: Where they lie.

    Returns:
        The batches, in the order given.
    """
    batches = []
    for place in spilled:
        with pa.OSFile(place.path) as source:
            batches.append(pa.ipc.open_file(source).get_batch(place.index))
    return batches
