"""The evaluation's report as a JSON document; docs/evaluation.md says what is in it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from components.ann_document import AnnDocument
from components.candidate_indexer.logic import IndexData
from components.retrieval_evaluator.changes import compare_lists, largest_gains, largest_losses
from components.retrieval_evaluator.config import EvaluationConfig, Protocol
from components.retrieval_evaluator.data import EvaluationData
from components.retrieval_evaluator.fingerprint import fingerprint_queries
from components.retrieval_evaluator.gate import NoRival, Verdict
from components.retrieval_evaluator.intervals import Resamples
from components.retrieval_evaluator.lists import LIST_ITEMS, describe_lists
from components.retrieval_evaluator.models import RankedModel
from components.retrieval_evaluator.released import ReleasedModel
from components.retrieval_evaluator.samples import describe_sample, draw_queries
from components.retrieval_evaluator.slices import Slice
from components.retrieval_evaluator.titles import describe_items
from schemas.contract import TRAIN_SPLIT, VALIDATION_SPLIT
from schemas.features import FeatureSpec
from schemas.release import TrainedOn
from schemas.split_times import SplitTimes

SHOWN_USERS: Final = 10
"""How many users the report shows."""
SHOWN_ITEMS: Final = 10
"""How many items that gained or lost it shows."""
SLICE_METRICS: Final = ("recall", "ndcg")
"""The metrics that groups of users are shown with, at the largest cut-off, beside the one that decides."""
_DIFFERENCE: Final = "difference"


@dataclass(frozen=True)
class Findings:
    """Everything that an evaluation found."""

    model_id: str
    """The training that made the model."""
    protocol: Protocol
    """The cut-offs and the metric that decides."""
    data: EvaluationData
    """The queries."""
    times: SplitTimes
    """When the splits lie."""
    split: Mapping[str, Any]
    """The rule of the split."""
    trained_on: TrainedOn | None
    """How much of the log the model has seen; None where its training began from a release that does not
    say it."""
    index: IndexData
    """The model's index."""
    ann: AnnDocument
    """What is known of the approximate index beside it."""
    title: str | None
    """The column that a person knows an item by."""
    model: RankedModel
    """The model."""
    released: ReleasedModel | NoRival
    """The released model, or why there is none to compare with."""
    rival: RankedModel | None
    """What became of the queries under it."""
    baselines: Sequence[RankedModel]
    """The baselines; one without metrics could not be computed."""
    slices: Sequence[Slice]
    """The groups of users."""
    verdict: Verdict
    """Whether the model may be released."""


def compose_report(
    found: Findings, spec: FeatureSpec, config: EvaluationConfig, resamples: Resamples
) -> dict[str, Any]:
    """Write down what an evaluation found.

    Args:
        found: The findings.
        spec: The features.
        config: The settings.
        resamples: The resamples of the users.

    Returns:
        The document.
    """
    data = found.data
    popularity = next(baseline for baseline in found.baselines if baseline.name == "popularity")
    return {
        "model_id": found.model_id,
        "blessed": found.verdict.blessed,
        "metrics": _means(found.model),
        "popularity": _means(popularity),
        "users": data.targets.query_count,
        "users_sampled_of": data.sampled_of,
        "held_out": len(data.targets.items),
        "catalogue_items": len(data.popularity),
        "seen_splits": [TRAIN_SPLIT, VALIDATION_SPLIT] if data.has_validation else [TRAIN_SPLIT],
        "data_fingerprint": fingerprint_queries(
            data, found.index.catalogue[spec.item_id.name], spec.user_id.name, config.candidates
        ),
        "trained_on": None if found.trained_on is None else dataclasses.asdict(found.trained_on),
        "protocol": _describe_protocol(found, config),
        "models": [_describe_model(model, found, resamples) for model in _all_models(found)],
        "differences": _describe_differences(found, resamples),
        "slices": _describe_slices(found, resamples, config),
        "gate": {
            "blessed": found.verdict.blessed,
            "sentence": found.verdict.sentence,
            "metric": found.protocol.deciding_metric,
            "rules": [dataclasses.asdict(rule) for rule in found.verdict.rules],
        },
        "ann": dataclasses.asdict(found.ann),
        "released": _describe_released(found),
        "changes": _describe_changes(found, spec),
        "samples": _describe_samples(found, spec, config),
    }


def _all_models(found: Findings) -> list[RankedModel]:
    return [found.model, *([found.rival] if found.rival is not None else []), *found.baselines]


def _means(model: RankedModel) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in model.metrics.items()}


def _describe_protocol(found: Findings, config: EvaluationConfig) -> dict[str, Any]:
    data = found.data
    ranked = len(data.popularity) - data.masked.sizes
    return {
        "candidates": config.candidates,
        "ks": list(found.protocol.ks),
        "seed": config.seed,
        "resamples": config.resamples,
        "split": dict(found.split),
        # A user's held-out row is older than many train rows of others.
        "leaks_time": found.times.held_out_from <= (found.times.train_until or 0)
        if found.times.held_out_from is not None
        else False,
        "held_out_from": found.times.held_out_from,
        "held_out_until": found.times.held_out_until,
        "repeats": {
            "held_out": data.held_out,
            "repeated": data.repeated,
            "users_without_target": data.users_without_target,
        },
        # Users with no more items left than the list is long find everything, whatever the model.
        "users_who_find_all": {str(k): int(np.count_nonzero(ranked <= k)) for k in found.protocol.ks},
    }


def _describe_model(model: RankedModel, found: Findings, resamples: Resamples) -> dict[str, Any]:
    data = found.data
    lists = None
    if model.top is not None:
        lists = describe_lists(
            model.top.items,
            data.targets,
            data.popularity,
            data.item_users,
            data.user_count,
            np.asarray(found.index.embeddings),
        )
    return {
        "name": model.name,
        "label": model.label,
        "note": model.note,
        "metrics": {
            name: interval._asdict() for name, interval in resamples.interval_of_many(model.metrics).items()
        },
        "lists": lists,
        "recall_curve": {"k": list(model.curve), "recall": list(model.curve.values())}
        if model.curve
        else None,
    }


def _describe_differences(found: Findings, resamples: Resamples) -> list[dict[str, Any]]:
    described = []
    for other in _all_models(found)[1:]:
        if other.metrics:
            differences = {name: found.model.metrics[name] - other.metrics[name] for name in other.metrics}
            described += [
                {"of": found.model.name, "to": other.name, "metric": name, **interval._asdict()}
                for name, interval in resamples.interval_of_many(differences).items()
            ]
    return described


def _describe_slices(found: Findings, resamples: Resamples, config: EvaluationConfig) -> list[dict[str, Any]]:
    decides = found.protocol.deciding_metric
    names = dict.fromkeys([decides, *(f"{name}_at_{max(found.protocol.ks)}" for name in SLICE_METRICS)])
    values = {name: found.model.metrics[name] for name in names}
    if found.rival is not None:
        values[_DIFFERENCE] = found.model.metrics[decides] - found.rival.metrics[decides]
    intervals = resamples.intervals_of_slices(values, [part.queries for part in found.slices])
    described = []
    for part, of_part in zip(found.slices, intervals, strict=True):
        difference = of_part.pop(_DIFFERENCE, None)
        described.append(
            {
                "group": part.group,
                "label": part.label,
                "users": len(part.queries),
                "is_judged": len(part.queries) >= config.slice_minimum_users,
                "metrics": {name: interval._asdict() for name, interval in of_part.items()},
                "difference": None if difference is None else {"metric": decides, **difference._asdict()},
            }
        )
    return described


def _describe_released(found: Findings) -> dict[str, Any] | None:
    if isinstance(found.released, NoRival):
        if found.released.is_first:
            return None
        return {
            "version": found.released.version,
            "model_id": found.released.model_id,
            "is_compared": False,
            "reason": found.released.reason,
        }
    return {
        "version": found.released.version,
        "model_id": found.released.tower.model_id,
        "is_compared": True,
        "reason": None,
    }


def _describe_changes(found: Findings, spec: FeatureSpec) -> dict[str, Any] | None:
    if found.rival is None or isinstance(found.released, NoRival):
        return None
    now, before = (_first_items(model) for model in (found.model, found.rival))
    changes = compare_lists(now, before, len(found.data.popularity))
    users = found.data.attributes[spec.user_id.name]
    most_changed = np.argsort(changes.overlap, kind="stable")[:SHOWN_USERS]

    def describe(rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        items = describe_items(rows, found.index.catalogue, spec.item_id.name, found.title)
        return [
            {**item, "before": int(changes.before[row]), "now": int(changes.now[row])}
            for item, row in zip(items, rows.tolist(), strict=True)
        ]

    return {
        "version": found.released.version,
        "list_length": now.shape[1],
        "overlap": float(changes.overlap.mean()),
        "users": [
            {"user": str(users[int(query)].as_py()), "overlap": float(changes.overlap[query])}
            for query in most_changed
        ],
        "gained": describe(largest_gains(changes, SHOWN_ITEMS)),
        "lost": describe(largest_losses(changes, SHOWN_ITEMS)),
    }


def _describe_samples(found: Findings, spec: FeatureSpec, config: EvaluationConfig) -> list[dict[str, Any]]:
    data = found.data
    return describe_sample(
        draw_queries(data.targets.query_count, SHOWN_USERS, config.seed),
        data.attributes,
        spec.user_id.name,
        data.recent_items,
        data.targets,
        {
            "recommended": _first_items(found.model),
            "released": None if found.rival is None else _first_items(found.rival),
        },
        found.index.catalogue,
        spec.item_id.name,
        found.title,
    )


def _first_items(model: RankedModel) -> npt.NDArray[np.int32]:
    assert model.top is not None
    return model.top.items[:, :LIST_ITEMS]
