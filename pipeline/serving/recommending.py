"""A request for recommendations: to a query, and from its ranking to an answer."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.queries.features import check_feature, fill_features
from pipeline.queries.notes import (
    GIVEN_JUST_NOW,
    note_counted_up_to,
    note_few_items,
    note_older_items,
    note_unknown_items,
    note_unread_history,
)
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.errors import RequestError
from pipeline.serving.history import HistoryValues
from pipeline.serving.json_text import parse_json
from pipeline.serving.limits import Limits
from pipeline.serving.models import Tensor
from pipeline.serving.ranking import Query, Ranking
from pipeline.serving.users import KnownUser, Users
from schemas.config_messages import explain_problems
from schemas.errors import DssmError
from schemas.features import FeatureSpec
from schemas.strict_config import STRICT

_SHOWN_HISTORY: Final = 20


@dataclass(frozen=True, config=STRICT)
class RecommendRequest:
    """Whom to recommend to, and what."""

    user: str | None = None
    """A user that the release knows; without one, features and a history describe a user never seen."""
    features: dict[str, Any] = Field(default_factory=dict)
    """Features by name; they take the place of the known ones."""
    history: tuple[str, ...] = ()
    """Item ids, the oldest first; they take the place of the known ones."""
    seconds: tuple[Annotated[int, Field(ge=0, lt=2**53)], ...] = ()
    """When the user interacted with each item of the history, in seconds since 1970; none: just now."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Number of items; null: 10, or as many as the server allows."""
    exclude: tuple[str, ...] = ()
    """Item ids that are not recommended."""
    filter: tuple[str, ...] = ()
    """Values of the release's filter feature: an item must have one of them. None: no filter."""


REQUEST: Final = TypeAdapter(RecommendRequest)
"""Checks and describes requests."""


def read_request(body: bytes, limits: Limits) -> RecommendRequest:
    """Read a request.

    Args:
        body: A JSON object.
        limits: The most items of an answer, and the most entries of a list.

    Returns:
        The request.

    Raises:
        RequestError: It is none, a key is unknown, or a value wrong or too large.
    """
    try:
        request = REQUEST.validate_json(body, strict=True)
    except ValidationError as error:
        raise RequestError(_explain(body, error)) from None
    if request.user is None and not request.features and not request.history:
        raise RequestError(
            "Expected a user, or features or a history of one never seen. Received: none of them. Give "
            "'user', 'features' or 'history'."
        )
    _check_lists(request, limits)
    if request.seconds and len(request.seconds) != len(request.history):
        raise RequestError(
            f"seconds: expected one for each of the {len(request.history):,} items of the history. Received: "
            f"{len(request.seconds):,}."
        )
    return dataclasses.replace(request, k=limits.choose_k(request.k))


@dataclasses.dataclass(frozen=True)
class Question:
    """A request that is understood: what is computed, and what its answer says of the user."""

    query: Query
    """What is computed."""
    user: str | None
    """The user's id; None of one never seen."""
    features: dict[str, Any]
    """What the user tower was given, the id and the history left out."""
    history: np.ndarray
    """Rows of the history's items, the oldest first."""
    notes: list[str]
    """What was assumed or left out."""


class Recommender:
    """Turns requests into queries and rankings into answers, for one release."""

    def __init__(
        self,
        version: int,
        spec: FeatureSpec,
        schema: str,
        ranks_new_items: bool,
        inputs: Mapping[str, Tensor],
        catalogue: Catalogue,
        users: Users | None,
        has_filter: bool,
    ) -> None:
        """Check that the features fit the release.

        Args:
            version: The release's version.
            spec: The features.
            schema: Where they were read from, for messages.
            ranks_new_items: Whether what a user had before is not recommended.
            inputs: The user tower's.
            catalogue: The items.
            users: The users; None in a release without them.
            has_filter: Whether requests may have a filter.

        Raises:
            ReleaseError: The release reads what the features do not have.
        """
        self._version, self._spec, self._schema = version, spec, schema
        self._ranks_new_items, self._catalogue, self._users = ranks_new_items, catalogue, users
        self._inputs, self.has_filter = inputs, has_filter
        of_history = spec.history.columns if spec.history is not None else ()
        self._feature_names = [name for name in inputs if name not in of_history]
        self._history = None
        if spec.history is not None and any(name in inputs for name in of_history):
            self._history = HistoryValues(spec, spec.history, inputs, catalogue.table)
        self._fill(None, None, dict.fromkeys(self._feature_names), 0.0, None, [])

    def describe_inputs(self) -> dict[str, Any]:
        """Describe what a request can say of a user.

        Returns:
            `features`: name, dtype, multi_valued, length and values of each; `history`: how many of its
            items the model reads, None where it reads none.
        """
        features = [
            {
                "name": feature.name,
                "dtype": feature.dtype,
                "multi_valued": feature.multi_valued,
                "length": feature.length,
                "values": None if feature.values is None else list(feature.values),
            }
            for feature in self._spec.tower_features("user")
            if feature.name in self._feature_names and feature.role is None
        ]
        history = None if self._history is None else self._spec.history
        return {"features": features, "history": None if history is None else history.length}

    def ask(
        self,
        request: RecommendRequest,
        now: float | None = None,
        set_by: Callable[[str], str] | None = "features.{}".format,
    ) -> Question:
        """Understand a request.

        Args:
            request: What `read_request` gave.
            now: The time of the request in seconds since 1970; None: by the clock.
            set_by: Says in notes and errors how one gives a feature, by its name; None where nobody can.

        Returns:
            What is to be computed.

        Raises:
            RequestError: The user is not known, a feature cannot be what it is or is missing, or there is no
                filter.
        """
        if request.filter and not self.has_filter:
            raise RequestError(
                "filter: expected none, since this release has no filter. Received: one. Train with "
                "retriever.filter in the configuration, or leave it out."
            )
        assert request.k is not None
        notes: list[str] = []
        now = time.time() if now is None else now
        known = None if request.user is None else self._find_user(request.user)
        given_rows, unknown = self._catalogue.find_all(request.history)
        notes += note_unknown_items(len(request.history), len(given_rows), unknown)
        try:
            given = {name: check_feature(self._spec, name, value) for name, value in request.features.items()}
            features = self._fill(request.user, known, given, now, set_by, notes)
        except DssmError as error:
            raise RequestError(str(error)) from None
        of_user = np.zeros(0, np.int32) if known is None else known.rows
        history = given_rows if request.history else of_user
        arrays = {name: _to_array(value, self._inputs[name]) for name, value in features.items()}
        arrays |= self._history_arrays(request, known, history, now, notes)
        excluded, _ = self._catalogue.find_all(request.exclude)
        if self._ranks_new_items:
            excluded = np.concatenate([excluded, of_user, given_rows])
        return Question(
            # Each once: the longest of a batch is the width of all.
            query=Query(arrays, np.unique(excluded), request.k, request.filter),
            user=request.user,
            features={name: value for name, value in features.items() if name != self._spec.user_id.name},
            history=history,
            notes=notes,
        )

    def answer(self, question: Question, ranking: Ranking) -> dict[str, Any]:
        """Put an answer together.

        Args:
            question: What was asked.
            ranking: What was found.

        Returns:
            The answer's JSON.

        Raises:
            RequestError: The features give no score.
        """
        if np.isnan(ranking.scores).any():
            raise RequestError(
                "features: expected values that the model gives a score for. Received: values that overflow "
                "in it. Look for extreme numbers."
            )
        few = note_few_items(len(ranking.rows), question.query.k, len(self._catalogue))
        newest = question.history[: -_SHOWN_HISTORY - 1 : -1]
        return {
            "release": self._version,
            "user": question.user,
            "features": question.features,
            "history": [self._catalogue.describe(row) for row in newest.tolist()],
            "history_length": len(question.history),
            "items": list_items(self._catalogue, ranking),
            "notes": [*question.notes, *few],
        }

    def _find_user(self, user: str) -> KnownUser:
        instead = "Leave 'user' out, and give 'features' and 'history'."
        if self._users is None:
            raise RequestError(
                f"Expected no user, since release {self._version} came without its users. Received: "
                f"{user!r:.80}. {instead}",
                HTTPStatus.NOT_FOUND,
            )
        known = self._users.find(user)
        if known is None:
            raise RequestError(
                f"Expected a user of release {self._version}. Received: {user!r:.80}, who is not among its "
                f"{len(self._users):,}. {instead}",
                HTTPStatus.NOT_FOUND,
            )
        return known

    def _fill(
        self,
        user: str | None,
        known: KnownUser | None,
        given: dict[str, Any],
        now: float,
        set_by: Callable[[str], str] | None,
        notes: list[str],
    ) -> dict[str, Any]:
        return fill_features(
            self._spec,
            self._schema,
            self._feature_names,
            user,
            None if known is None else known.features,
            given,
            find_median=lambda feature: None if self._users is None else self._users.find_median(feature),
            set_by=set_by,
            now=now,
            notes=notes,
        )

    def _history_arrays(
        self,
        request: RecommendRequest,
        known: KnownUser | None,
        rows: np.ndarray,
        now: float,
        notes: list[str],
    ) -> dict[str, np.ndarray]:
        if self._history is None:
            if request.history:
                notes.append(note_unread_history(self._ranks_new_items))
            return {}
        if request.history:
            notes += note_older_items(self._history.length, len(rows))
        seconds, until = np.zeros(len(rows), np.int64), 0
        if self._history.reads_gaps and len(rows):
            seconds, until = self._find_times(request, known, len(rows), now, notes)
        return self._history.take(rows, seconds, until)

    def _find_times(
        self, request: RecommendRequest, known: KnownUser | None, items: int, now: float, notes: list[str]
    ) -> tuple[np.ndarray, int]:
        """Find the times of the history's items, and the time that gaps count up to."""
        if request.history and not request.seconds:
            notes.append(GIVEN_JUST_NOW)
            return np.zeros(items, np.int64), 0
        if request.history:
            is_known = [self._catalogue.find(item) is not None for item in request.history]
            seconds = np.array(request.seconds, np.int64)[is_known]
            # A clock that is behind the client's would make the newest ones lie in the future.
            return seconds, max(int(now), int(seconds.max()))
        assert known is not None
        assert known.seconds is not None
        assert self._users is not None
        notes.append(note_counted_up_to("the newest interaction of all users", self._users.newest))
        return known.seconds, self._users.newest


def list_items(catalogue: Catalogue, ranking: Ranking) -> list[dict[str, Any]]:
    """List the items of a ranking as answers show them.

    Args:
        catalogue: The items.
        ranking: The ranking.

    Returns:
        The best first: rank, item_id, score and display of each.
    """
    return [
        {"rank": rank, "score": score, **catalogue.describe(row)}
        for rank, (row, score) in enumerate(
            zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True), start=1
        )
    ]


def _check_lists(request: RecommendRequest, limits: Limits) -> None:
    for name in ("history", "seconds", "exclude", "filter"):
        limits.check_list(name, getattr(request, name))
    for name, value in request.features.items():
        if isinstance(value, list):
            limits.check_list(f"features.{name}", value)


def _explain(body: bytes, error: ValidationError) -> str:
    content = parse_json(body)
    if not isinstance(content, dict):
        return 'Expected a JSON object such as {"user": "42", "k": 10}. Received: another value.'
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"Expected a body of JSON. Received: {first['ctx']['error']}."
    return "; ".join(explain_problems(RecommendRequest, content, error))


def _to_array(value: Any, tensor: Tensor) -> np.ndarray:
    if not tensor.is_text:
        return np.array(value, tensor.dtype)
    if isinstance(value, list):
        texts = np.empty(len(value), object)
        texts[:] = [one.encode() for one in value]
        return texts
    return np.array(value.encode(), object)
