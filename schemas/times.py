"""Units of time that several parts count in."""

from typing import Final

SECONDS_PER_DAY: Final = 86_400
