"""`dssm recommend`: the current release, asked for one user. TensorFlow alone serves it."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.candidate_indexer.logic import IndexData, read_index
from components.interaction_ingest.user_lookup import (
    UserRecord,
    read_user,
    read_user_numbers,
)
from components.towers import load_tower
from pipeline.config import PipelineConfig
from pipeline.queries.features import fill_features, has_median, median_of, parse_feature
from pipeline.queries.history import history_inputs
from pipeline.queries.notes import (
    GIVEN_JUST_NOW,
    note_counted_up_to,
    note_few_items,
    note_older_items,
    note_unknown_items,
    note_unread_history,
)
from pipeline.queries.ranking import rank_items
from pipeline.recommend.answer import (
    Recommendation,
    describe_items,
    list_items,
    render_items,
    show,
)
from pipeline.recommend.explain import Influence, leave_each_out, measure_influences
from schemas.contract import INDEX, USER_TOWER
from schemas.errors import ConfigError, DataError
from schemas.features import Feature, FeatureSpec
from schemas.release import read_current_release
from schemas.tensorflow_alone import import_tensorflow_alone

RECENT_ITEMS = 5
SHOWN_INFLUENCES = 3


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
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """By recommended item, the items of the history that pulled it up most, as they are shown; empty unless
    asked for."""


def recommend_items(
    config: PipelineConfig,
    user: str | None,
    features: Sequence[str],
    history: Sequence[str],
    k: int,
    repeats: bool | None = None,
    explains: bool = False,
) -> str:
    """Recommend, from the command line's texts to the terminal's text.

    Args:
        config: The configuration.
        user: A known user's id, or None.
        features: Texts of the form NAME=VALUE.
        history: Item ids, oldest first.
        k: Number of items.
        repeats: As `recommend` takes it.
        explains: As `recommend` takes it.

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
    return render(recommend(config, user, values, list(history), k, repeats=repeats, explains=explains))


def recommend(
    config: PipelineConfig,
    user: str | None,
    features: dict[str, str],
    history: list[str],
    k: int = 10,
    *,
    repeats: bool | None = None,
    explains: bool = False,
) -> Recommendations:
    """Recommend the items whose embeddings are nearest to the user's.

    For a known user, the features are the row of the user table, the history is every positive that the
    ingest keeps of the user, those held out and skipped among them, whose item the release has, and items of
    any interaction are left out. A feature or a history that is given takes the place of the known one;
    items of a given history are left out too. With `evaluation.candidates: all` or `repeats` none is left
    out. The features of the history's items are those of the release's catalogue. The time since each is
    counted up to the newest interaction of the log; a given item counts as just now.

    A feature that is neither known nor given is, in this order: a part of the log's time, that of now; its
    default; for a string, a value that no vocabulary holds; for a bucketised or z-scored number of the user
    table, that table's median. Each such choice is noted in the answer. Any other one is an error.

    Args:
        config: The configuration.
        user: A known user's id; None for a user never seen.
        features: Values by feature name, as text; a multi-valued feature's are separated by commas,
            with quotes around a value that holds one.
        history: Item ids, oldest first; ids outside the catalogue are left out and noted.
        k: Number of items; fewer come where the catalogue has fewer left.
        repeats: Whether what the user has can be recommended; None: as `evaluation.candidates` says.
        explains: Whether each item of the history that the model reads is left out once, to see what it did
            to the scores.

    Returns:
        The items and what they were chosen for.

    Raises:
        ConfigError: k is below 1, a feature is unknown, unusable or missing, nothing was given, or an
            explanation is asked of a model that reads no history.
        DataError: The user is unknown, a table cannot be read, or the model gives the features no score.
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
    parts = (INDEX, USER_TOWER)
    release = read_current_release(config.serving.directory, config.run.release_cache, parts)

    notes: list[str] = []
    index = read_index(release.index)
    index_ids = index.catalogue[spec.item_id.name].combine_chunks()
    record = _read_known_user(config, spec, user, index_ids, has_context=bool(features or history))
    notes += _list_absences(spec, user, record)
    known_history = _known_items(history, index_ids, notes)
    ranks_new_items = config.evaluation.candidates == "new" if repeats is None else not repeats
    recent = known_history if history else record.positives

    import_tensorflow_alone()
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
        now=time.time(),
        notes=notes,
    )
    columns: dict[str, Any] = {name: [value] for name, value in inputs.items()}
    left_out: list[str] = []
    histories: list[dict[str, pa.Array]] = [{}]
    if spec.history is not None and any(name in tower.inputs for name in history_columns):
        if history:
            notes += note_older_items(spec.history.length, len(recent))
        seconds, now = None if history else record.seconds, 0
        if spec.history.gap_column in tower.inputs:
            now = _choose_now(None if history else record, notes)
        left_out, histories = _compose_histories(spec, recent, seconds, now, index, explains=explains)
    elif explains:
        raise ConfigError(
            "--explain: expected a release whose model reads a history. Received: one that reads none. "
            "Leave --explain out."
        )
    elif history:
        notes.append(note_unread_history(ranks_new_items))
    embedding, *without = tower.embed(pa.concat_tables(pa.table(columns | one) for one in histories))
    if not np.isfinite(embedding).all():
        raise DataError(
            "Expected features that the model gives a score for. Received: values that overflow in it. Look "
            "for extreme numbers in --feature and in the user table."
        )

    excluded = pa.array([*record.interacted, *known_history] if ranks_new_items else [], index_ids.type)
    is_excluded = pc.is_in(index_ids, value_set=excluded).to_numpy(zero_copy_only=False)
    best, scores = rank_items(index.embeddings @ embedding, is_excluded.nonzero()[0], k)
    notes += note_few_items(len(best), k, len(index_ids))
    influences = None
    if without:
        changes = measure_influences(index.embeddings[best], embedding, np.stack(without))
        influences = _list_influences(left_out, changes)
    elif explains:
        notes.append("There is no history, so no item of it pulled a recommendation up.")
    items = list_items(best, scores, index.catalogue, spec, influences)
    return Recommendations(
        user=user,
        version=release.version,
        inputs={name: value for name, value in inputs.items() if name != spec.user_id.name},
        recent=describe_items(recent[: -RECENT_ITEMS - 1 : -1], index.catalogue, spec),
        items=items,
        notes=notes,
        reasons=_list_reasons(items, index.catalogue, spec),
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
    described = ", ".join(f"{name} {show(value)}" for name, value in answer.inputs.items())
    if described:
        lines.append(f"Features: {described}")
    if answer.recent:
        lines.append("Recently liked, newest first: " + "; ".join(answer.recent))
    lines += ["", render_items(answer.items)]
    if answer.reasons:
        lines += ["", "Pulled up by, with what the score would lose without it:"]
        lines += [f"  {item}: {'; '.join(shown) or 'nothing'}" for item, shown in answer.reasons.items()]
    if answer.notes:
        lines += ["", *(f"Note: {note}" for note in answer.notes)]
    return "\n".join(lines)


def _list_absences(spec: FeatureSpec, user: str | None, record: UserRecord) -> list[str]:
    """Say which table does not know a user whom another one knows."""
    if user is None:
        return []
    if record.features is None and spec.tables.users is not None:
        return [f"User {user} has no row in {spec.tables.users.file}."]
    if not record.interacted:
        return [f"User {user} has no interaction in {spec.tables.interactions.file}."]
    return []


def _compose_histories(
    spec: FeatureSpec,
    items: list[str],
    seconds: list[int] | None,
    now: int,
    index: IndexData,
    *,
    explains: bool,
) -> tuple[list[str], list[dict[str, pa.Array]]]:
    """Put together what the model reads of a history: whole, and to explain, without each of its items."""
    assert spec.history is not None
    length = spec.history.length
    ids = index.catalogue[spec.item_id.name].combine_chunks()
    rows = pc.index_in(pa.array(items, ids.type), value_set=ids).to_numpy()[-length:]
    times = np.array(seconds or [0] * len(items), np.int64)[-length:]
    left_out, kept = leave_each_out(rows)
    columns = [
        history_inputs(spec, spec.history, rows[places], times[places], now, index.catalogue)
        for places in (np.ones(len(rows), bool), *(kept if explains else ()))
    ]
    return ids.take(pa.array(left_out)).to_pylist(), columns


def _list_influences(items: list[str], changes: np.ndarray) -> list[tuple[Influence, ...]]:
    """List, for each recommendation, what each item of the history did, the largest change first."""
    return [
        tuple(Influence(items[place], float(row[place])) for place in np.argsort(-row, kind="stable"))
        for row in changes
    ]


def _list_reasons(
    items: list[Recommendation], catalogue: pa.Table, spec: FeatureSpec
) -> dict[str, list[str]]:
    reasons = {}
    for item in items:
        best = [one for one in item.influences[:SHOWN_INFLUENCES] if one.score_change > 0]
        described = describe_items([one.item_id for one in best], catalogue, spec)
        reasons[item.item_id] = [
            f"{text} {one.score_change:+.3f}" for text, one in zip(described, best, strict=True)
        ]
    return reasons if any(item.influences for item in items) else {}


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
    notes += note_unknown_items(len(history), len(known), sorted(set(history) - set(known)))
    return known


def _choose_now(record: UserRecord | None, notes: list[str]) -> int:
    """Choose the time that gaps count up to; `record` is None of a history that was given without times."""
    if record is None:
        notes.append(GIVEN_JUST_NOW)
        return 0
    if record.log_end is None or not record.seconds:
        return 0
    notes.append(note_counted_up_to("the log's end", record.log_end))
    return record.log_end
