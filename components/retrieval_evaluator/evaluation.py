"""Exact evaluation of retrieval over the whole catalogue: from towers and sequences to a verdict.

Every user with something to be found is one query, and all catalogue items that may be recommended are
ranked; schemas.ranking says what is ranked for whom, what the metrics are and what becomes of ties. All that
is known before eval counts as known, train and validation alike, whether or not the model was trained again
on both. Every figure comes from an array with a value for each query.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.ann_document import AnnDocument, read_document
from components.candidate_indexer.logic import IndexData, read_index
from components.retrieval_evaluator.baselines.interface import BaselineQueries
from components.retrieval_evaluator.baselines.labels import LABELS
from components.retrieval_evaluator.baselines.log import read_baseline_log
from components.retrieval_evaluator.baselines.registry import BASELINES
from components.retrieval_evaluator.config import EvaluationConfig, Protocol, choose_protocol
from components.retrieval_evaluator.data import EvaluationData, read_evaluation_data
from components.retrieval_evaluator.document import Findings, compose_report
from components.retrieval_evaluator.gate import (
    CHANCE_LEVEL,
    Ancestry,
    NoRival,
    Rival,
    SliceDifference,
    judge,
    normal_interval,
)
from components.retrieval_evaluator.intervals import Interval, Resamples
from components.retrieval_evaluator.models import RankedModel, embed_queries, measure_ranks, rank_by_scores
from components.retrieval_evaluator.released import (
    Base,
    ReleasedModel,
    align_items,
    find_base,
    load_released,
    score_known_items,
)
from components.retrieval_evaluator.scores_sample import sample_scores
from components.retrieval_evaluator.slices import Slice, build_slices, item_columns
from components.retrieval_evaluator.titles import choose_title
from components.towers import Tower, load_tower
from schemas.contract import MODEL_INFO_FILE, USER_TOWER
from schemas.errors import DataError, ReleaseError, TrainingError
from schemas.features import FeatureSpec
from schemas.leakage import describe_training, find_leak
from schemas.ranking import score_by_inner_product
from schemas.release import hash_folder
from schemas.skew import ScoresSample
from schemas.split_times import SplitTimes, read_split_times


@dataclass(frozen=True)
class EvaluationInputs:
    """What an evaluation reads."""

    sequences: Path
    """The sequences."""
    model: Path
    """The Trainer's serving model."""
    index: Path
    """The candidate index."""
    ann: Path
    """What is known of the approximate index beside it."""
    serving_directory: str
    """The folder that releases are pushed to: a path or URI. Only read."""
    split: Mapping[str, Any]
    """The rule of the split, as `ingest.split` has it."""
    display: tuple[str, ...] = ()
    """The columns of the index that a person knows an item by, the best first."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    report: dict[str, Any]
    """The document that docs/evaluation.md describes."""
    per_user: pa.Table
    """[queries] `user`, and the model's metrics by name."""
    scores: ScoresSample
    """The best items of some users, for the release to be held against."""


def evaluate_model(inputs: EvaluationInputs, spec: FeatureSpec, config: EvaluationConfig) -> Evaluation:
    """Evaluate a model beside the baselines and the released model, and decide whether it may be released.

    Args:
        inputs: The artifacts.
        spec: The features.
        config: The protocol and the rules.

    Returns:
        The report, the metrics of each user, and the scores of some.

    Raises:
        ConfigError: A cut-off is no smaller than the catalogue.
        DataError: Nothing is held out, or nothing of it can be found.
        ReleaseError: The tower and the index come from different trainings.
        StorageError: The releases are in an object store, which cannot be reached or refuses.
        TrainingError: A user's embedding is not finite.
    """
    times = read_split_times(inputs.sequences, spec)
    if times.held_out_from is None:
        raise DataError(
            f"Expected at least one held-out interaction in {inputs.sequences}. Received: none. "
            "Choose an ingest.split that leaves some."
        )
    tower, index = _load_model(inputs, spec)
    ann = _read_ann(inputs.ann, tower.model_id)
    info = json.loads((inputs.model / MODEL_INFO_FILE).read_text(encoding="utf-8"))
    base = find_base(info, inputs.serving_directory)
    protocol = choose_protocol(config, len(index.embeddings))
    with tempfile.TemporaryDirectory() as scratch:
        released = load_released(inputs.serving_directory, spec, inputs.split, times, tower, Path(scratch))
        data = _read_data(inputs, spec, config, index, tower, released)
        model = _rank_model(tower, index, data, spec, protocol)
        rival = None
        if isinstance(released, ReleasedModel):
            try:
                rival = _rank_released(released, index, data, spec, protocol)
            except TrainingError as error:
                released = NoRival(
                    f"release {released.version} cannot be evaluated: {error}",
                    is_first=False,
                    version=released.version,
                    model_id=released.tower.model_id,
                )
    baselines = _rank_baselines(inputs, spec, config, index, data, protocol)
    slices = build_slices(data, spec, index.catalogue, config.candidates)
    resamples = Resamples(data.targets.query_count, config.resamples, config.seed)

    decides = protocol.deciding_metric
    own = model.metrics[decides]
    verdict = judge(
        resamples.interval(own),
        {
            baseline.name: _bound_difference(baseline.name, own - baseline.metrics[decides], resamples)
            for baseline in baselines
            if baseline.metrics
        },
        _compare(model, rival, released, slices, resamples, config, decides),
        config,
        decides,
        users=data.targets.query_count,
        ancestry=None if base is None else _describe_ancestry(base, inputs.split, times),
        ann=ann,
    )
    findings = Findings(
        model_id=tower.model_id,
        protocol=protocol,
        data=data,
        times=times,
        split=inputs.split,
        trained_on=None
        if base is not None and base.trained_on is None
        else describe_training(
            times,
            inputs.split,
            info["refitted"],
            None if base is None else base.trained_on,
            hash_folder(inputs.sequences),
        ),
        index=index,
        ann=ann,
        title=choose_title(inputs.display, index.catalogue.column_names),
        model=model,
        released=released,
        rival=rival,
        baselines=baselines,
        slices=slices,
        verdict=verdict,
    )
    return Evaluation(
        compose_report(findings, spec, config, resamples),
        pa.table({"user": data.attributes[spec.user_id.name], **model.metrics}),
        sample_scores(data, model, index, tower.inputs, spec, config.seed),
    )


def _load_model(inputs: EvaluationInputs, spec: FeatureSpec) -> tuple[Tower, IndexData]:
    tower = load_tower(inputs.model / USER_TOWER, USER_TOWER)
    # The catalogue may have vectors, which nothing here reads.
    of_history = [feature.name for feature in spec.history_features]
    index = read_index(
        inputs.index,
        list(dict.fromkeys([spec.item_id.name, *of_history, *item_columns(spec), *inputs.display])),
    )
    if tower.model_id != index.model_id:
        raise ReleaseError(
            f"The user tower comes from training {tower.model_id!r} and the index from {index.model_id!r}: "
            "their embeddings cannot be compared. Index the catalogue again with the towers of one training."
        )
    return tower, index


def _read_ann(folder: Path, model_id: str) -> AnnDocument:
    ann = read_document(folder)
    if ann.model_id != model_id:
        raise ReleaseError(
            f"The user tower comes from training {model_id!r} and the approximate index from "
            f"{ann.model_id!r}. Build it again with the towers of one training."
        )
    return ann


def _read_data(
    inputs: EvaluationInputs,
    spec: FeatureSpec,
    config: EvaluationConfig,
    index: IndexData,
    tower: Tower,
    released: ReleasedModel | NoRival,
) -> EvaluationData:
    read = set(tower.inputs)
    if isinstance(released, ReleasedModel):
        read |= set(released.tower.inputs)
    return read_evaluation_data(
        inputs.sequences,
        _catalogue_ids(index, spec),
        spec,
        sorted(read),
        config.candidates,
        config.users,
        config.seed,
    )


def _rank_model(
    tower: Tower, index: IndexData, data: EvaluationData, spec: FeatureSpec, protocol: Protocol
) -> RankedModel:
    users = embed_queries(tower, data.queries, spec, index.catalogue)
    score = score_by_inner_product(users, np.asarray(index.embeddings))
    return rank_by_scores("model", "this model", score, data, protocol.ks)


def _rank_released(
    released: ReleasedModel, index: IndexData, data: EvaluationData, spec: FeatureSpec, protocol: Protocol
) -> RankedModel:
    users = embed_queries(released.tower, data.queries, spec, index.catalogue)
    items, is_known = align_items(released.index, spec.item_id.name, _catalogue_ids(index, spec))
    missing = int(np.count_nonzero(~is_known))
    return rank_by_scores(
        "released",
        f"release {released.version}",
        score_known_items(score_by_inner_product(users, items), is_known),
        data,
        protocol.ks,
        note=f"without {missing:,} items of today's catalogue, which it ranks last" if missing else None,
    )


def _rank_baselines(
    inputs: EvaluationInputs,
    spec: FeatureSpec,
    config: EvaluationConfig,
    index: IndexData,
    data: EvaluationData,
    protocol: Protocol,
) -> list[RankedModel]:
    log = read_baseline_log(inputs.sequences, spec, _catalogue_ids(index, spec), seed=config.seed)
    queries = BaselineQueries(
        targets=data.targets,
        masked=data.masked,
        seen=data.seen,
        seen_counts=data.seen_counts,
        recent_items=data.recent_items,
        times=data.times,
        candidates=config.candidates,
        k=max(protocol.ks),
    )
    models = []
    for name in config.shown_baselines:
        found = BASELINES[name](log, queries, data.popularity)
        if found.ranks is None:
            models.append(RankedModel(name, LABELS[name], {}, note=found.note))
        else:
            models.append(
                measure_ranks(name, LABELS[name], found.ranks, data.targets, protocol.ks, note=found.note)
            )
    return models


def _compare(
    model: RankedModel,
    rival: RankedModel | None,
    released: ReleasedModel | NoRival,
    slices: list[Slice],
    resamples: Resamples,
    config: EvaluationConfig,
    metric: str,
) -> Rival | NoRival:
    if isinstance(released, NoRival):
        return released
    assert rival is not None
    differences: npt.NDArray[np.float64] = model.metrics[metric] - rival.metrics[metric]
    return Rival(
        version=released.version,
        metric=float(rival.metrics[metric].mean()),
        difference=resamples.interval(differences),
        slices=[
            SliceDifference(f"{part.group}: {part.label}", differences[part.queries])
            for part in slices
            if len(part.queries) >= config.slice_minimum_users
        ],
    )


def _bound_difference(baseline: str, differences: npt.NDArray[np.float64], resamples: Resamples) -> Interval:
    # Of one user there is no spread to tell; too few users are refused by a rule of their own.
    if baseline == "chance" and len(differences) > 1:
        return normal_interval(differences, CHANCE_LEVEL)
    return resamples.interval(differences)


def _describe_ancestry(base: Base, split: Mapping[str, Any], times: SplitTimes) -> Ancestry:
    if base.trained_on is None:
        return Ancestry(base.version, None, is_known=False)
    return Ancestry(base.version, find_leak(base.trained_on, split, times), is_known=True)


def _catalogue_ids(index: IndexData, spec: FeatureSpec) -> pa.Array:
    return index.catalogue[spec.item_id.name].combine_chunks()
