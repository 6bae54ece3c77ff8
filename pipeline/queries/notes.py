"""Sentences that answers for one user have in common, in the terminal and over HTTP."""

import datetime
from collections.abc import Sequence
from typing import Final

GIVEN_JUST_NOW: Final = "How long ago the given items were is not known: they count as just now."
"""Of a history that was given without times to a model that reads them."""

_SHOWN_ITEMS: Final = 10


def note_unknown_items(given: int, known: int, unknown: Sequence[str]) -> list[str]:
    """Say which items of a given history the release does not have.

    Args:
        given: How many items were given.
        known: How many of them are in the catalogue.
        unknown: The others, each once.

    Returns:
        One sentence, or none where all are known.
    """
    if not unknown:
        return []
    return [
        f"{given - known:,} of the {given:,} items of the history are not in the catalogue and were left "
        f"out: {', '.join(unknown[:_SHOWN_ITEMS])}{', ...' if len(unknown) > _SHOWN_ITEMS else '.'}"
    ]


def note_unread_history(ranks_new_items: bool) -> str:
    """Say what a given history does where the model reads none.

    Args:
        ranks_new_items: Whether the items of a history are not recommended.

    Returns:
        A sentence.
    """
    effect = "only leaves its items out" if ranks_new_items else "changes nothing"
    return f"The model reads no history: the given one {effect}."


def note_older_items(length: int, items: int) -> list[str]:
    """Say that the model does not read all of a given history.

    Args:
        length: How many items the model reads.
        items: How many were given, of those in the catalogue.

    Returns:
        One sentence, or none where it reads all.
    """
    if items <= length:
        return []
    return [f"The model reads the newest {length} of the {items} items of the history."]


def note_counted_up_to(what: str, second: int) -> str:
    """Say up to which time it is counted how long ago the items of a known history were.

    Args:
        what: What happened then.
        second: When, in seconds since 1970.

    Returns:
        A sentence.
    """
    moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
    return f"How long ago the items of the history were counts from {what}, {moment:%F %T} UTC."


def note_few_items(found: int, k: int, catalogue: int) -> list[str]:
    """Say that fewer items are left than were asked for.

    Args:
        found: How many there are.
        k: How many were asked for.
        catalogue: How many the release has.

    Returns:
        One sentence, or none where there are enough.
    """
    return [f"Only {found:,} items are left of the {catalogue:,} in the catalogue."] if found < k else []
