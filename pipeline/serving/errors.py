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
