"""A Kubeflow Pipelines endpoint: kfp's own client with credentials, time limits, retries and short errors."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from schemas.errors import DssmError

if TYPE_CHECKING:
    import kfp.client

_Result = TypeVar("_Result")

_CONNECT_TIMEOUT_SECONDS: Final = 10
DEFAULT_TIMEOUT_SECONDS: Final = 60
# Pauses before the second and the third attempt of a call that may be repeated.
_RETRY_PAUSES_SECONDS: Final = (0.5, 2.0)
_PAGE_SIZE: Final = 100
_MESSAGE_LENGTH: Final = 400
_NOT_THE_API: Final = (
    "the answer is not the API's but a page: check that --host is the address of Kubeflow Pipelines, and"
    " where it asks for a login, give --cookie-file or --token-file."
)
_HINTS: Final = {
    401: "The credentials are missing, wrong or expired: give --token-file or --cookie-file.",
    403: "These credentials may not do this: check --namespace and the role of the account.",
}


class KubeflowError(DssmError):
    """A call to Kubeflow Pipelines failed, or what it was asked is wrong.

    Attributes:
        status: The HTTP status of the answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """Where Kubeflow Pipelines is, and who asks."""

    host: str
    """URL of its API or of its user interface, such as http://localhost:8888."""
    namespace: str | None = None
    """Kubernetes namespace of the user; None where the installation has one user."""
    token_file: Path | None = None
    """File with a bearer token; read again for every call, so that a renewed token counts."""
    cookie_file: Path | None = None
    """File with the value of the Cookie header that a browser got at login."""
    in_cluster: bool = False
    """Whether to use the service account token that Kubernetes projects into this pod."""
    ca_file: Path | None = None
    """Certificates, in PEM, that sign the server's; None for the public ones."""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    """How long one answer may take."""


class Kubeflow:
    """kfp's client for one endpoint.

    Args:
        endpoint: Where Kubeflow Pipelines is, and who asks.

    Raises:
        KubeflowError: The credentials cannot be read, or the endpoint does not answer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._host = _check_host(endpoint.host)
        self.client = _make_client(endpoint, self._host)
        _repair_transport(self.client, endpoint.timeout_seconds)
        self.namespace = endpoint.namespace or self.client.get_user_namespace() or None
        if self.namespace is None:
            health = self.call("reach it", self.client._healthz_api.healthz_service_get_healthz)
            if health.multi_user:
                raise KubeflowError(
                    f"{self._host}: this installation has several users: give --namespace with the profile."
                )

    def call(self, task: str, function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
        """Call kfp's client and turn whatever goes wrong into one line.

        Args:
            task: What the call does, for the error: "cannot <task>".
            function: A method of the client.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What the method returns.

        Raises:
            KubeflowError: The call failed, after some repetitions if it may be repeated.
        """
        import kfp_server_api
        import urllib3

        try:
            with _quiet():
                return function(*args, **kwargs)
        except kfp_server_api.ApiException as error:
            problem, status = _describe_answer(error), int(error.status or 0)
        except urllib3.exceptions.HTTPError as error:
            problem, status = _describe_connection(error), 0
        except (ValueError, TypeError, AttributeError, OSError) as error:
            # What the client raises where an answer is not what it expects, or a file cannot be read.
            problem, status = _shorten(str(error)), 0
        raise KubeflowError(f"{self._host}: cannot {task}: {problem}", status) from None

    def list_all(self, task: str, field: str, function: Callable[..., Any], **kwargs: Any) -> list[Any]:
        """Call a listing method for every page.

        Args:
            task: What the call does, for the error.
            field: The field of the answer that holds the entries.
            function: A listing method of the client.
            **kwargs: Its keyword arguments.

        Returns:
            The entries of all pages.

        Raises:
            KubeflowError: A call failed.
        """
        entries: list[Any] = []
        token = ""
        while True:
            page = self.call(task, function, page_token=token, page_size=_PAGE_SIZE, **kwargs)
            entries += getattr(page, field) or []
            token = page.next_page_token or ""
            if not token:
                return entries

    def link(self, kind: str, identifier: str) -> str:
        """Return the page of the user interface that shows something.

        Args:
            kind: The part of the path, such as runs or recurringrun.
            identifier: Its id.

        Returns:
            The URL.
        """
        return f"{self.client._get_url_prefix().rstrip('/')}/#/{kind}/details/{identifier}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the links that the client prints and its notes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _check_host(host: str) -> str:
    host = host.strip().rstrip("/")
    parts = urlsplit(host if "://" in host else f"https://{host}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise KubeflowError(f"--host: expected a URL such as http://localhost:8888. Received: {host!r}.")
    return parts.geturl()


def _make_client(endpoint: Endpoint, host: str) -> kfp.client.Client:
    import kfp.client
    import kfp_server_api

    class Client(kfp.client.Client):
        """kfp's client, without the question at its start that it repeats for half a minute."""

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    options: dict[str, Any] = {"host": host}
    given = [
        flag
        for flag, value in (
            ("--token-file", endpoint.token_file),
            ("--cookie-file", endpoint.cookie_file),
            ("--in-cluster", endpoint.in_cluster),
        )
        if value
    ]
    if len(given) > 1:
        raise KubeflowError(f"Expected one kind of credentials. Received: {' and '.join(given)}.")
    if endpoint.cookie_file:
        options["cookies"] = _read_secret("--cookie-file", endpoint.cookie_file)
    elif endpoint.token_file:
        _read_secret("--token-file", endpoint.token_file)
        options["credentials"] = kfp.client.ServiceAccountTokenVolumeCredentials(str(endpoint.token_file))
    else:
        projected = kfp.client.ServiceAccountTokenVolumeCredentials()
        token_file = Path(projected._token_path)
        if endpoint.in_cluster:
            _read_secret("--in-cluster", token_file)
        if token_file.is_file():
            options["credentials"] = projected
    if endpoint.ca_file:
        if not endpoint.ca_file.is_file():
            raise KubeflowError(f"--ca-file: {endpoint.ca_file} is not a file.")
        options["ssl_ca_cert"] = str(endpoint.ca_file)
    if endpoint.namespace:
        options["namespace"] = endpoint.namespace
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Client(**options)
        except (OSError, ValueError) as error:
            raise KubeflowError(f"{host}: cannot set up the client: {_shorten(str(error))}") from None


def _read_secret(flag: str, path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KubeflowError(f"{flag}: cannot read {path}: {reason}.") from None
    if not secret or len(secret.splitlines()) > 1:
        raise KubeflowError(
            f"{flag}: expected one line in {path}. Received: {len(secret.splitlines())} lines."
        )
    return secret


def _repair_transport(client: kfp.client.Client, timeout_seconds: int) -> None:
    """Give every call a time limit, and repeat those that may be repeated."""
    import kfp_server_api
    import urllib3

    rest = client._run_api.api_client.rest_client
    # Its own repetitions know neither which POST may be repeated nor when to stop following a redirect.
    rest.pool_manager.connection_pool_kw["retries"] = False
    send = rest.request

    def request(method: str, url: str, **kwargs: Any) -> Any:
        kwargs["_request_timeout"] = (_CONNECT_TIMEOUT_SECONDS, timeout_seconds)
        # Enabling or disabling twice is the same as once; creating is not.
        repeatable = method in ("GET", "DELETE") or url.endswith((":enable", ":disable"))
        for pause in (*_RETRY_PAUSES_SECONDS, None):
            try:
                response = send(method, url, **kwargs)
            except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
                if isinstance(error, kfp_server_api.ApiException) and not error.status:
                    # Its caller cannot cope with an error that no server has answered.
                    raise urllib3.exceptions.SSLError(error.reason) from None
                if pause is None or not _may_pass(error, repeatable):
                    raise
                time.sleep(pause)
            else:
                _check_is_json(response)
                return response
        raise AssertionError("the last attempt returns or raises")

    rest.request = request


def _may_pass(error: Exception, repeatable: bool) -> bool:
    import kfp_server_api
    import urllib3

    if isinstance(error, urllib3.exceptions.NewConnectionError):
        # Nothing was sent. A name that does not exist will not exist in a moment.
        return not isinstance(error, urllib3.exceptions.NameResolutionError)
    if isinstance(error, kfp_server_api.ApiException):
        status = int(error.status or 0)
        return repeatable and (status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == 429)
    return repeatable and isinstance(error, urllib3.exceptions.ProtocolError)


def _check_is_json(response: Any) -> None:
    try:
        json.loads(response.data or "{}")
    except ValueError:
        raise ValueError(_NOT_THE_API) from None


def _describe_answer(error: Any) -> str:
    status = int(error.status)
    try:
        name = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        location = (error.headers or {}).get("Location", "another address")
        return (
            f"{name}: it sends to {_shorten(location)}, which is likely a login: give --cookie-file or"
            " --token-file, or the address where it sends."
        )
    return " ".join(filter(None, [f"{name}.", _read_message(error.body), _HINTS.get(status)]))


def _read_message(body: Any) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        content = json.loads(text)
    except ValueError:
        return _NOT_THE_API if "<html" in text.lower() else _shorten(text)
    if isinstance(content, dict):
        for key in ("message", "error_message", "error", "error_details"):
            if isinstance(content.get(key), str) and content[key]:
                return _shorten(content[key])
    return _shorten(text)


def _describe_connection(error: Exception) -> str:
    import urllib3

    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the name of the host is not known; check --host."
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "the connection is refused: nothing listens there; check --host, or start the port-forward."
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.ReadTimeoutError):
        return "no answer in time; check --host, or give --timeout-seconds."
    if isinstance(error, urllib3.exceptions.SSLError):
        return _describe_tls(str(error))
    return f"the connection broke ({_shorten(str(error))}); what was asked may have been done: try again."


def _describe_tls(reason: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return f"its certificate is not trusted ({_shorten(reason)}); give --ca-file with its authority."
    return f"no secure connection ({_shorten(reason)}); check whether --host is http:// or https://."


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"
