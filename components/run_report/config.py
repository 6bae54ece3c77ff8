"""Settings of RunReport."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class ReportConfig:
    """What the run's report draws."""

    map_feature: str | None = None
    """The item feature that colours the map of item embeddings; of several values the first counts. Null: the
    first item feature that is a string with few values, or else the first number."""
    map_items: Annotated[int, Field(ge=3, le=4000)] = 2000
    """The most items that the map draws, a random sample beyond that; each adds a fifth of a kilobyte."""
