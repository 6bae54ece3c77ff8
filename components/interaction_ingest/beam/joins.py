"""How what is known of users and items comes to the buckets."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Joins:
    """How what is known of users and items comes to the buckets."""

    users: Literal["broadcast", "shuffle", "none"] = "broadcast"
    """The user table; `none`: there is none, and every user of a bucket is known."""
    items: Literal["broadcast", "shuffle", "none"] = "broadcast"
    """The ids of the item table, likewise."""
