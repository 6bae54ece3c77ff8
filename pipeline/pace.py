"""How fast something goes, and how long it has still to go."""

from collections import deque
from typing import Final

# A step is not as fast all along: the rate is that of the last seconds.
_WINDOW_SECONDS: Final = 15.0


class Pace:
    """The rate of something that is counted now and then.

    Args:
        now: The clock at the first count, in seconds.
        done: The first count.
    """

    def __init__(self, now: float, done: int) -> None:
        self._counts = deque([(now, done)])

    @property
    def done(self) -> int:
        """The last count."""
        return self._counts[-1][1]

    def add(self, now: float, done: int) -> None:
        """Note a count.

        Args:
            now: The clock, in seconds.
            done: The count.
        """
        self._counts.append((now, done))
        while len(self._counts) > 2 and self._counts[1][0] <= now - _WINDOW_SECONDS:
            self._counts.popleft()

    def per_second(self, now: float) -> float | None:
        """Tell the rate of the last 15 seconds, or since the count before the last.

        Args:
            now: The clock, in seconds. Where counts have stopped to come, the rate falls.

        Returns:
            Counts a second; None where nothing has moved, or there is only one count.
        """
        (begin, first), (end, last) = self._counts[0], self._counts[-1]
        if end == begin or last <= first:
            return None
        usual = end - self._counts[-2][0]
        is_late = now - end > max(_WINDOW_SECONDS, 2 * usual)
        return (last - first) / ((now if is_late else end) - begin)

    def seconds_left(self, now: float, total: int) -> float | None:
        """Tell how long the rest takes at the present rate.

        Args:
            now: The clock, in seconds.
            total: The count at the end.

        Returns:
            Seconds; None where no rate is known, or nothing is left.
        """
        rate, left = self.per_second(now), total - self.done
        return left / rate if rate is not None and left > 0 else None
