"""JSON as TensorFlow Serving reads and writes it: with NaN and the infinities."""

import json
from typing import Any

import orjson

from pipeline.serving.errors import RequestError


def parse_json(body: bytes) -> Any:
    """Read a request's body.

    Args:
        body: JSON in UTF-8, in which NaN, Infinity and -Infinity are numbers too.

    Returns:
        What it says.

    Raises:
        RequestError: It is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            # It knows no NaN and no number of more than 64 bits; this is slower, and does.
            content = json.loads(body)
            # A half of a surrogate pair is a text for it, which is no text in UTF-8.
            json.dumps(content, ensure_ascii=False).encode()
            return content
        except (ValueError, RecursionError):
            raise RequestError(f"Expected a body of JSON. Received: {error}.") from None


def render_json(content: Any, has_non_finite: bool = False) -> bytes:
    """Write an answer's body.

    Args:
        content: Dictionaries with texts as keys, lists, texts, numbers, booleans and None.
        has_non_finite: Whether numbers may be NaN or infinite, which are written as NaN, Infinity and
            -Infinity; otherwise they would be null.

    Returns:
        JSON in UTF-8.
    """
    if has_non_finite:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return orjson.dumps(content)
