"""How what is known of users and items comes to the buckets."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Joins:
    """How what is known of users and items comes to the buckets."""

    users: Literal["broadcast", "shuffle"] = "broadcast"
    """The user table."""
    items: Literal["broadcast", "shuffle"] = "broadcast"
    """The ids of the item table."""
