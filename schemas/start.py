"""What a training begins from."""

from typing import Final, Literal, get_args

from schemas.errors import ConfigError

Start = Literal["warm", "cold"]
"""From a release, or from nothing."""

WARM: Final = "warm"
COLD: Final = "cold"


def parse_start(text: str | None) -> Start | None:
    """Read the run parameter.

    Args:
        text: As an orchestrator hands it on: an empty text can be missing.

    Returns:
        The start; None where the configuration decides.

    Raises:
        ConfigError: It is none.
    """
    if not text:
        return None
    for start in get_args(Start):
        if text == start:
            return start
    raise ConfigError(f"start: expected {WARM}, {COLD} or an empty text. Received: {text!r}.")
