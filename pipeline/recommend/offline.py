"""`dssm recommend`: the current release, asked for one user. TensorFlow alone serves it."""

import datetime
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tabulate import tabulate

from components.candidate_indexer.logic import read_index
from components.interaction_ingest.user_lookup import (
    UserRecord,
    find_log_end,
    read_user,
    read_user_numbers,
)
from components.towers import load_tower
from pipeline.config import PipelineConfig
from pipeline.recommend.features import UNKNOWN_TEXT, fill_features, has_median, median_of, parse_feature
from pipeline.recommend.history import history_inputs
from pipeline.recommend.ranking import rank_items
from schemas.contract import INDEX, USER_TOWER
from schemas.errors import ConfigError, DataError
from schemas.features import Feature, FeatureSpec
from schemas.release import read_current_release

RECENT_ITEMS = 5
_RELEASE_CACHE = "release-cache"


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    rank: int
    """From 1."""
    item_id: str
    """The item."""
    score: float
    """Cosine similarity of the user's and the item's embedding, -1 to 1."""
    display: dict[str, Any]
    """The catalogue's display columns."""


@dataclass(frozen=True)
class Recommendations:
    """The answer for one user, and what it was made from."""

    user: str | None
    """The user's id; None for a user never seen."""
    version: int
    """The release's version."""
    inputs: dict[str, Any]
    """The features that the user tower was given, the id and the history left out."""
    recent: list[str]
    """The newest items of the history, the newest first, as their display columns."""
    items: list[Recommendation]
    """The best items first."""
    notes: list[str]
    """What was assumed or left out."""


def recommend_items(
    config: PipelineConfig, user: str | None, features: Sequence[str], history: Sequence[str], k: int
) -> str:
    """Recommend, from the command line's texts to the terminal's text.

    Args:
        config: The configuration.
        user: A known user's id, or None.
        features: Texts of the form NAME=VALUE.
        history: Item ids, oldest first.
        k: Number of items.

    Returns:
        What `render` returns.

    Raises:
        DssmError: As `recommend`, and for a text without an equals sign or a name given twice.
    """
    values: dict[str, str] = {}
    for text in features:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ConfigError(f"--feature: expected NAME=VALUE, such as age=30. Received: {text!r}.")
        if name in values:
            raise ConfigError(f"--feature: {name!r} is given twice. A multi-valued feature takes {name}=A,B.")
        values[name] = value
    return render(recommend(config, user, values, list(history), k))


def recommend(
    config: PipelineConfig, user: str | None, features: dict[str, str], history: list[str], k: int = 10
) -> Recommendations:
    """Recommend the items whose embeddings are nearest to the user's.

    For a known user, the features are the row of the user table, the history is every positive that the
    ingest keeps of the user, those held out and skipped among them, whose item the release has, and items of
    any interaction are left out. A feature or a history that is given takes the place of the known one;
    items of a given history are left out too. With `evaluation.candidates: all` none is left out. The
    features of the history's items are those of the release's catalogue. The time since each is counted up
    to the newest interaction of the log; a given item counts as just now.

    A feature that is neither known nor given is, in this order: its default; for a string, a
    value that no vocabulary holds; for a bucketised or z-scored number of the user table, that table's
    median. Each such choice is noted in the answer. Any other one is an error.

    Args:
        config: The configuration.
        user: A known user's id; None for a user never seen.
        features: Values by feature name, as text; a multi-valued feature's are separated by commas,
            with quotes around a value that holds one.
        history: Item ids, oldest first; ids outside the catalogue are left out and noted.
        k: Number of items; fewer come where the catalogue has fewer left.

    Returns:
        The items and what they were chosen for.

    Raises:
        ConfigError: k is below 1, a feature is unknown, unusable or missing, or nothing was given.
        DataError: The user is unknown, or a table cannot be read.
        StorageError: The data or the release is in an object store, which cannot be reached or refuses.
        ReleaseError: There is no release, or it is incomplete, mixed, damaged, or of another schema.
    """
    if k < 1:
        raise ConfigError(f"--k: expected at least 1. Received: {k}.")
    if user is None and not features and not history:
        raise ConfigError(
            "Expected a user. Received: nothing. Give --user ID, or --history ITEM_ID, --feature NAME=VALUE."
        )
    spec = config.load_features()
    given = {name: parse_feature(spec, name, text) for name, text in features.items()}
    cache = Path(config.run.directory) / _RELEASE_CACHE
    release = read_current_release(config.serving.directory, cache, parts=(INDEX, USER_TOWER))

    notes: list[str] = []
    shown = list(dict.fromkeys([spec.item_id.name, *spec.tables.display]))
    index = read_index(release.index)
    index_ids = index.catalogue[spec.item_id.name].combine_chunks()
    record = _read_known_user(config, spec, user, index_ids, has_context=bool(features or history))
    known_history = _known_items(history, index_ids, notes)
    ranks_new_items = config.evaluation.candidates == "new"
    recent = known_history if history else record.positives

    tower = load_tower(release.user_tower, USER_TOWER)
    history_columns = spec.history.columns if spec.history is not None else ()
    names = [name for name in tower.inputs if name not in history_columns]
    inputs = fill_features(
        spec,
        config.data.schema,
        names,
        user,
        record.features,
        given,
        find_median=functools.partial(_median, config, spec),
        set_by=lambda name: f"--feature {name}=...",
        notes=notes,
    )
    columns: dict[str, Any] = {name: [value] for name, value in inputs.items()}
    if spec.history is not None and any(name in tower.inputs for name in history_columns):
        if history and len(recent) > spec.history.length:
            notes.append(
                f"The model reads the newest {spec.history.length} of the {len(recent)} items of the history."
            )
        seconds, now = None if history else record.seconds, 0
        if spec.history.gap_column in tower.inputs:
            now = _find_now(config, spec, seconds, notes)
        seconds = seconds or [0] * len(recent)
        rows = pc.index_in(pa.array(recent, index_ids.type), value_set=index_ids).to_numpy()
        columns |= history_inputs(spec, spec.history, rows, seconds, now, index.catalogue)
    elif history:
        notes.append(
            "The model reads no history: the given one "
            + ("only leaves its items out." if ranks_new_items else "changes nothing.")
        )
    embedding = tower.embed(pa.table(columns))[0]

    excluded = pa.array([*record.interacted, *known_history] if ranks_new_items else [], index_ids.type)
    is_excluded = pc.is_in(index_ids, value_set=excluded).to_numpy(zero_copy_only=False)
    best, scores = rank_items(index.embeddings @ embedding, is_excluded.nonzero()[0], k)
    if len(best) < k:
        notes.append(f"Only {len(best):,} items are left of the {len(index_ids):,} in the catalogue.")
    display = index.catalogue.select([name for name in shown if name in index.catalogue.column_names])
    return Recommendations(
        user=user,
        version=release.version,
        inputs={name: value for name, value in inputs.items() if name != spec.user_id.name},
        recent=_describe(recent[: -RECENT_ITEMS - 1 : -1], display, spec.item_id.name),
        items=[
            Recommendation(rank=rank, item_id=row.pop(spec.item_id.name), score=float(score), display=row)
            for rank, (score, row) in enumerate(
                zip(scores, display.take(pa.array(best)).to_pylist(), strict=True), start=1
            )
        ],
        notes=notes,
    )


def render(answer: Recommendations) -> str:
    """Render an answer as text.

    Args:
        answer: What `recommend` returned.

    Returns:
        Who it is for, what the user recently liked, a table of the items, and the notes.
    """
    who = "a user never seen" if answer.user is None else f"user {answer.user}"
    lines = [f"Recommendations for {who}, from release {answer.version}"]
    described = ", ".join(f"{name} {_show(value)}" for name, value in answer.inputs.items())
    if described:
        lines.append(f"Features: {described}")
    if answer.recent:
        lines.append("Recently liked, newest first: " + "; ".join(answer.recent))
    names = list(answer.items[0].display) if answer.items else []
    table = tabulate(
        [
            [item.rank, f"{item.score:.3f}", item.item_id, *map(_show, item.display.values())]
            for item in answer.items
        ],
        headers=["rank", "score", "item", *names],
        disable_numparse=True,
    )
    lines += ["", table]
    if answer.notes:
        lines += ["", *(f"Note: {note}" for note in answer.notes)]
    return "\n".join(lines)


def _read_known_user(
    config: PipelineConfig, spec: FeatureSpec, user: str | None, index_ids: pa.Array, has_context: bool
) -> UserRecord:
    if user is None:
        return UserRecord(features=None, positives=[], seconds=[], interacted=[])
    record = read_user(spec, config.ingest, config.data.directory, user, index_ids)
    if record.features is None and not record.interacted:
        instead = (
            "leave --user out" if has_context else "give --history ITEM_ID and --feature NAME=VALUE instead"
        )
        tables = [spec.tables.interactions.file]
        if spec.tables.users is not None:
            tables.insert(0, spec.tables.users.file)
        raise DataError(
            f"Expected a user of {' or '.join(tables)} in {config.data.directory}. Received: {user!r}, "
            f"who is in {'neither' if len(tables) > 1 else 'no row of it'}. "
            f"For a user never seen, {instead}."
        )
    return record


def _median(config: PipelineConfig, spec: FeatureSpec, feature: Feature) -> int | float | None:
    # The interactions can be too many to read for one value; the user table is not.
    if not has_median(feature):
        return None
    return median_of(feature, read_user_numbers(spec, config.data.directory, feature))


def _known_items(history: list[str], index_ids: pa.Array, notes: list[str]) -> list[str]:
    is_known = pc.is_in(pa.array(history, index_ids.type), value_set=index_ids).to_pylist()
    known = list(compress(history, is_known))
    if len(known) < len(history):
        unknown = sorted(set(history) - set(known))
        notes.append(
            f"{len(history) - len(known):,} of the {len(history):,} items of the history are not in the "
            f"catalogue and were left out: {', '.join(unknown)}."
        )
    return known


def _find_now(config: PipelineConfig, spec: FeatureSpec, seconds: list[int] | None, notes: list[str]) -> int:
    """Find the time that gaps count up to; `seconds` is None of a history that was given without times."""
    if seconds is None:
        notes.append("How long ago the given items were is not known: they count as just now.")
        return 0
    if not seconds:
        return 0
    now = find_log_end(spec, config.ingest, config.data.directory)
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    notes.append(f"How long ago the items of the history were counts from the log's end, {moment:%F %T} UTC.")
    return now


def _describe(items: list[str], catalogue: pa.Table, item_id: str) -> list[str]:
    ids = catalogue[item_id]
    known = catalogue.filter(pc.is_in(ids, value_set=pa.array(items, ids.type)))
    rows = {row[item_id]: row for row in known.to_pylist()}
    described = []
    for item in items:
        first, *others = [_show(value) for name, value in rows.get(item, {}).items() if name != item_id] or [
            item
        ]
        described.append(first + (f" ({', '.join(others)})" if others else ""))
    return described


def _show(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return f"of {len(value)} numbers"
    if isinstance(value, list):
        return " | ".join(map(str, value)) or "unknown"
    return "unknown" if value is None or value == UNKNOWN_TEXT else str(value)
