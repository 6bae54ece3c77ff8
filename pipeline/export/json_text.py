"""JSON as the formats write it: compact, UTF-8, in bodies of bounded size."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def to_json(value: Any) -> str:
    """Write a value without spaces.

    Args:
        value: Texts, numbers, truth values, lists and objects of them; no NaN and no infinity.

    Returns:
        JSON.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_vector_texts(embeddings: npt.NDArray[np.float32]) -> list[str]:
    """Write vectors as JSON arrays with the fewest digits that give the same float32 again.

    Args:
        embeddings: [rows, dim] finite.

    Returns:
        [rows] arrays.
    """
    rows, dim = embeddings.shape
    numbers = pa.array(embeddings.reshape(-1)).cast(pa.string())
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(dim))
    # In Arrow's own code: a Python string a number would take most of an export's time.
    texts = pc.binary_join(pa.ListArray.from_arrays(offsets, numbers), ",")
    return [f"[{text}]" for text in texts.to_pylist()]


def split_texts(texts: Iterable[str], maximum: int, maximum_bytes: int) -> Iterator[list[str]]:
    """Put texts together to bodies.

    Args:
        texts: The parts of the bodies.
        maximum: Texts of a body.
        maximum_bytes: Their size in UTF-8; a text that is larger is alone.

    Yields:
        The texts of a body.
    """
    body: list[str] = []
    size = 0
    for text in texts:
        text_size = len(text.encode())
        if body and (len(body) == maximum or size + text_size > maximum_bytes):
            yield body
            body, size = [], 0
        body.append(text)
        size += text_size
    if body:
        yield body
