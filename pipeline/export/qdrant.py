"""Bodies of requests that make points of Qdrant.

    upserts/00000.json    {"points": [{"id": UUID, "vector": [...], "payload": {"item_id": ..., ...}}, ...]}
    deletes/00000.json    {"points": [UUID, ...]}

A point has an unsigned integer or a UUID for an id: it is made of the item's id, which stays in the payload.

The bodies are those of https://api.qdrant.tech/api-reference/points/upsert-points and
https://api.qdrant.tech/api-reference/points/delete-points; what an id and a payload may be is said in
https://qdrant.tech/documentation/concepts/points/ and https://qdrant.tech/documentation/concepts/payload/.
"""

import uuid
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from pipeline.export.columns import refuse_non_finite_values
from pipeline.export.content import BLOCK_ROWS, ExportedItems
from pipeline.export.formats import ExportFormat
from pipeline.export.json_text import split_texts, to_json, to_vector_texts

NAMESPACE: Final = uuid.UUID("5b0f7a3e-3c1d-4f6b-9a55-7e0d4c2f8a11")
"""Of the points' ids: another one makes other points of the same items."""

# A server takes 32 MiB, if its configuration does not say otherwise.
_BODY_BYTES: Final = 16 << 20


def write_qdrant(items: ExportedItems, folder: Path, rows_per_file: int) -> None:
    """Write the bodies.

    Args:
        items: What is exported.
        folder: Gets the two folders.
        rows_per_file: Points, or ids, of a body; a body is smaller where it would have too many bytes.

    Raises:
        DataError: A number is NaN or infinite.
    """
    _write_bodies(_iterate_points(items), folder / "upserts", rows_per_file)
    deleted = chain.from_iterable(items.iterate_deleted(BLOCK_ROWS))
    _write_bodies((to_json(to_point_id(text)) for text in deleted), folder / "deletes", rows_per_file)


def to_point_id(item_id: str) -> str:
    """Make the id of a point.

    Args:
        item_id: The item's id.

    Returns:
        A UUID, always the same.
    """
    return str(uuid.uuid5(NAMESPACE, item_id))


def _iterate_points(items: ExportedItems) -> Iterator[str]:
    for block in chain.from_iterable(items.iterate_files(BLOCK_ROWS)):
        refuse_non_finite_values(block.table, items.item_id)
        vectors = to_vector_texts(block.embeddings)
        for row, vector in zip(block.table.to_pylist(), vectors, strict=True):
            payload = {name: value for name, value in row.items() if value is not None}
            point_id = to_json(to_point_id(row[items.item_id]))
            yield f'{{"id":{point_id},"vector":{vector},"payload":{to_json(payload)}}}'


def _write_bodies(texts: Iterable[str], folder: Path, texts_per_file: int) -> None:
    for number, body in enumerate(split_texts(texts, texts_per_file, _BODY_BYTES)):
        folder.mkdir(exist_ok=True)
        content = '{"points":[\n' + ",\n".join(body) + "\n]}\n"
        (folder / f"{number:05}.json").write_text(content, encoding="utf-8")


FORMAT: Final = ExportFormat(rows_per_file=1000, metric="Dot", write=write_qdrant)
