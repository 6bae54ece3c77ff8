"""What one request may ask for, and how many are answered at the same time."""

import contextlib
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Final

from pipeline.serving.errors import RequestError, make_busy_error

_DEFAULT_K: Final = 10


@dataclass(frozen=True)
class Limits:
    """The most that a request may be, have or ask for."""

    body_bytes: int = 4 << 20
    """Bytes of a body."""
    rows: int = 1024
    """Rows of a batch."""
    k: int = 1000
    """Items of an answer."""
    list_entries: int = 10_000
    """Entries of each list in a request for recommendations: the longest is the width of a whole batch."""
    concurrent: int = 256
    """Requests that are worked on at the same time, those for health and figures aside."""
    body_seconds: float = 30.0
    """Seconds within which a body must have come."""
    bodies: int = 32
    """Bodies of the largest size that may be read at the same time; of smaller ones, more."""

    @property
    def reading_bytes(self) -> int:
        """Bytes that all bodies may have together while they are being read."""
        return self.bodies * self.body_bytes

    def choose_k(self, k: int | None) -> int:
        """Choose the number of items of an answer.

        Args:
            k: What the request says, at least 1; None: nothing.

        Returns:
            That, or 10 where it says nothing and 10 are allowed.

        Raises:
            RequestError: More are asked for than are allowed.
        """
        if k is None:
            return min(_DEFAULT_K, self.k)
        if k > self.k:
            raise RequestError(f"k: expected at most {self.k:,}. Received: {k:,}.")
        return k

    def check_list(self, name: str, entries: Sized) -> None:
        """Check the length of a list in a request for recommendations.

        Args:
            name: The list's, for messages.
            entries: The list.

        Raises:
            RequestError: It is longer than is allowed.
        """
        if len(entries) > self.list_entries:
            raise RequestError(
                f"{name:.80}: expected at most {self.list_entries:,} entries. Received: {len(entries):,}. "
                "Send fewer, or start the server with a larger --max-list."
            )


class Gate:
    """Lets so many requests work at the same time, and sends the others away at once."""

    def __init__(self, places: int) -> None:
        self.busy = 0
        """Requests that are worked on."""
        self._places = places

    def check(self) -> None:
        """Send a request away that would not be let in now.

        Raises:
            RequestError: As many as may be are worked on.
        """
        if self.busy >= self._places:
            raise make_busy_error(
                f"Expected at most {self._places:,} requests at the same time. Received: one more."
            )

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Work on a request, on the event loop's thread.

        Raises:
            RequestError: As many as may be are worked on.
        """
        self.check()
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
