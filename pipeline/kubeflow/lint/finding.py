"""What the checks of a compiled pipeline report, and how they word it."""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_PLAIN_KEY: Final = re.compile(r"[-@\w]+")


@dataclass(frozen=True)
class Finding:
    """One thing in a compiled pipeline that will go wrong."""

    path: str
    """Where it stands, such as `root.dag.tasks.Trainer.retryPolicy`."""
    problem: str
    """What is wrong, and what KFP would do with it."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}."


def join(path: str, key: str) -> str:
    """Write the path of a key inside the mapping at `path`."""
    name = key if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"
    return f"{path}{'.' if path and name == key else ''}{name}"


def suggest(name: str, names: Iterable[str], introduction: str) -> str:
    """Say what to write in place of a wrong name: the nearest known one, or else all of them."""
    known = sorted(names)
    # A name of any length among any number of them would take minutes.
    nearest = difflib.get_close_matches(name[:200], known[:200], n=1, cutoff=0.6)
    if nearest:
        return f"Write {nearest[0]!r}"
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"Correct or remove it ({introduction} {listed or 'none'})"


def show(value: Any) -> str:
    """Write a value for a message, shortened."""
    text = "nothing" if value in (None, "") else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
