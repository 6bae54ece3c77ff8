"""What the checks of a compiled pipeline report, and how they word it."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

_PLAIN_KEY: Final = re.compile(r"[-@\w]+")


@dataclass(frozen=True)
class Finding:
    """One thing in a compiled pipeline that will go wrong."""

    path: str
    """Where it stands, such as `root.dag.tasks.Trainer`."""
    problem: str
    """What is wrong, and what KFP would do with it."""
    remedy: str
    """What to do."""


def join(path: str, *keys: str) -> str:
    """Write the path of a key inside the mapping at `path`, and of keys inside of that."""
    for key in keys:
        name = key if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"
        path += f".{name}" if path and name == key else name
    return path


def show(value: Any) -> str:
    """Write a value for a message, shortened."""
    text = "nothing" if value in (None, "") else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
