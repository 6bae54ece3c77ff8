"""Parameters of URLs: declared once, for reading them and for the description of the API."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import QueryParams

from pipeline.serving.errors import RequestError


@dataclass(frozen=True)
class Parameter:
    """A parameter of a URL."""

    name: str
    """Its name."""
    meaning: str
    """What it says."""
    kind: Literal["text", "texts", "number"] = "text"
    """`texts` may be given several times."""
    required: bool = False
    """Whether it must be given."""
    within: Literal["query", "path"] = "query"
    """Where it stands."""
    minimum: int = 1
    """The smallest number."""
    maximum: int | None = 1000
    """The largest number; None: whoever reads it knows."""

    def describe(self) -> dict[str, Any]:
        """Describe it as OpenAPI does."""
        schema: dict[str, Any] = {"type": "string"}
        if self.kind == "number":
            schema = {"type": "integer", "minimum": self.minimum}
            if self.maximum is not None:
                schema["maximum"] = self.maximum
        elif self.kind == "texts":
            schema = {"type": "array", "items": schema}
        return {
            "name": self.name,
            "in": self.within,
            "required": self.required or self.within == "path",
            "description": self.meaning,
            "schema": schema,
        }


def read_parameters(query: QueryParams, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Read the parameters of a URL.

    Args:
        query: What the URL has.
        parameters: What it may have.

    Returns:
        The values of those that are given, by name: texts, lists of texts, or numbers.

    Raises:
        RequestError: One is unknown, missing, given twice, or no number in its range.
    """
    known = {parameter.name: parameter for parameter in parameters if parameter.within == "query"}
    values: dict[str, Any] = {}
    for name in query:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            meant = f"; did you mean {nearest[0]!r}?" if nearest else "."
            raise RequestError(
                f"Expected the parameters {', '.join(known) or 'none'}. Received: {name!r:.80}{meant}"
            )
        given = query.getlist(name)
        if known[name].kind == "texts":
            values[name] = given
            continue
        if len(given) > 1:
            raise RequestError(f"{name}: expected it once. Received: {len(given)} times.")
        values[name] = given[0] if known[name].kind == "text" else _to_number(known[name], given[0])
    missing = [name for name, parameter in known.items() if parameter.required and name not in values]
    if missing:
        raise RequestError(
            f"Expected the parameter {missing[0]!r}: {known[missing[0]].meaning} Received: none."
        )
    return values


def _to_number(parameter: Parameter, text: str) -> int:
    # No number of ours has more digits; Python refuses to read some thousands of them.
    is_number = text.isascii() and text.isdecimal() and len(text) <= 18
    largest = math.inf if parameter.maximum is None else parameter.maximum
    if not is_number or not parameter.minimum <= int(text) <= largest:
        end = " on" if parameter.maximum is None else f" to {parameter.maximum:,}"
        raise RequestError(
            f"{parameter.name}: expected a whole number from {parameter.minimum:,}{end}. "
            f"Received: {text!r:.80}."
        )
    return int(text)
