"""A request that is not answered as it asked."""

from collections.abc import Mapping
from http import HTTPStatus


class RequestError(Exception):
    """A request that is refused; its message says what was expected, what came, and what to do."""

    def __init__(
        self, message: str, status: int = HTTPStatus.BAD_REQUEST, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the answer."""
        self.headers = dict(headers or {})
        """Further headers of the answer."""


def make_busy_error(message: str) -> RequestError:
    """Make the refusal of a request that may succeed in a second.

    The connection stays: uvicorn drops what is still to come of a refused body, and reads the next request.

    Args:
        message: What was expected, and what came.

    Returns:
        A refusal with the status 503.
    """
    return RequestError(
        f"{message} Send it again later.", HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"}
    )
