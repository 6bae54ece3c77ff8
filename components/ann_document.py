"""What is known of an approximate index: its kind, how it is searched, and what that costs and finds."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.contract import ANN, ANN_FILE, MODEL_ID, PART_FILE
from schemas.errors import ReleaseError
from schemas.release import read_part_id

EXACT: Final = "exact"
"""The kind of an index that is none: every item's score is computed."""


@dataclass(frozen=True)
class Tried:
    """An index that was built and measured, whether or not it was taken."""

    kind: str
    """Its kind."""
    parameters: dict[str, int]
    """How it was built and, the least that was enough where any was, searched."""
    recall: float
    """Its recall on the half of the queries that was chosen by."""
    reaches_target: bool
    """Whether that is enough, beyond chance."""
    ms: float
    """Median milliseconds of a query."""
    build_seconds: float
    """Seconds that building took."""
    bytes: int
    """Size of its file."""


@dataclass(frozen=True)
class AnnDocument:
    """What an index's ann.json says."""

    model_id: str
    """The training whose embeddings it holds."""
    kind: str
    """`exact`, or a kind of `ann.kinds`."""
    items: int
    """Number of items."""
    k: int
    """The length of the lists whose recall was measured."""
    target_recall: float
    """What was asked for."""
    floor: float
    """What the gate asks for."""
    parameters: dict[str, int] = field(default_factory=dict)
    """How it was built and is searched; none of an exact one."""
    recall: float = 1.0
    """Share of the exact search's first k items that it finds, on queries that it was not chosen by."""
    recall_low: float = 1.0
    """Lower end of the 95 % interval."""
    recall_high: float = 1.0
    """Upper end."""
    queries: int = 0
    """Number of queries that these are a mean over."""
    exact_ms: float | None = None
    """Median milliseconds of an exact query, asked alone; None where nothing was measured."""
    ann_ms: float | None = None
    """The same of the index."""
    speedup: float | None = None
    """How many times as fast it is."""
    reason: str | None = None
    """Why the search is exact; None where it is not."""
    tried: tuple[Tried, ...] = ()
    """Every index that was measured."""


def write_document(document: AnnDocument, folder: Path) -> None:
    """Write what is known of an index, and the part's id.

    Args:
        document: What is known.
        folder: The artifact's folder.
    """
    part = {MODEL_ID: document.model_id, "part": ANN}
    (folder / PART_FILE).write_text(json.dumps(part), encoding="utf-8")
    text = json.dumps({"part": ANN, **dataclasses.asdict(document)}, indent=2, allow_nan=False)
    (folder / ANN_FILE).write_text(text + "\n", encoding="utf-8")


def read_document(folder: Path) -> AnnDocument:
    """Read what is known of an index.

    Args:
        folder: What AnnIndexer wrote, or a release's part.

    Returns:
        What is known.

    Raises:
        ReleaseError: There is none, or it is not one of this program's version.
    """
    model_id = read_part_id(folder, ANN)
    try:
        fields: dict[str, Any] = json.loads((folder / ANN_FILE).read_text(encoding="utf-8"))
        del fields["part"]
        tried = tuple(Tried(**one) for one in fields.pop("tried"))
        document = AnnDocument(**fields, tried=tried)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"Cannot read the approximate index {folder}: {error!r}. Build it again with `dssm run`."
        ) from error
    if document.model_id != model_id:
        raise ReleaseError(
            f"The approximate index {folder} says training {document.model_id!r} in {ANN_FILE} and "
            f"{model_id!r} in {PART_FILE}. Build it again with `dssm run`."
        )
    return document
