"""Settings of RetrievalEvaluator."""

import difflib
import re
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.errors import ConfigError
from schemas.ranking import Candidates
from schemas.ranking.cut_offs import default_cut_offs
from schemas.ranking.metrics import METRICS, metric_names
from schemas.strict_config import STRICT

ALWAYS_SHOWN: Final = ("chance", "popularity")
"""The baselines that every report has."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """How a model is judged."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """The cut-offs K of Recall@K, NDCG@K, MRR@K, MAP@K and the hit rate at K; null: 10, 50 and 100, less
    those that are more than a fifth of the catalogue. One that is no smaller than the catalogue is refused
    before anything is trained, since it finds everything."""
    candidates: Candidates = "new"
    """What can be recommended: here, in the training's validation, by `dssm recommend` and by the retriever,
    which knows what a user has by the history in the request. `new`: what the user does not have; a held-out
    item that the user had before is not asked for. `all`: anything, as where people buy again; every held-out
    item is asked for."""
    users: Annotated[int, Field(ge=1)] | None = None
    """Evaluate a random sample of this many of the users with held-out items, which the report says; null:
    all of them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Equal seeds draw the same users from the same data, and the same resamples for the intervals."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the users that the intervals are made of."""
    baselines: tuple[
        Literal[
            "chance", "popularity", "recent_popularity", "personal_frequency", "item_knn", "markov", "als"
        ],
        ...,
    ] = ("recent_popularity", "item_knn", "markov", "als")
    """What the model is shown beside, besides `chance` and `popularity`: `recent_popularity`, within a window
    that is chosen on earlier interactions; `item_knn`; `markov`, what followed the user's last items; `als`,
    where the package implicit is installed; and with `candidates: all` also `personal_frequency`, what the
    user has most often."""
    blessing_metric: str | None = None
    """The metric that decides: recall_at_K, ndcg_at_K, mrr_at_K, map_at_K or hit_rate_at_K with one of the
    cut-offs; null: the recall at the largest."""
    blessing_minimum_users: Annotated[int, Field(ge=1)] = 30
    """A model that was evaluated on fewer users is refused, since nothing can be told of so few."""
    blessing_minimum: Share = 0.0
    """The metric must be at least this."""
    blessing_baselines: tuple[str, ...] | None = None
    """Those of the baselines that the model must beat: the interval of the difference, paired by user, is
    above 0. Null: popularity and recent popularity, as far as they are shown. Chance must be beaten in any
    case."""
    blessing_margin: Share = 0.1
    """The model must be shown not to be worse than the released one on the same users by more than this share
    of the released one's metric: the interval of the difference is above minus the margin."""
    blessing_slice_margin: Share = 0.2
    """In no group of enough users may the metric be lower than the released model's by more than this share
    of the released one's metric over all users."""
    slice_minimum_users: Annotated[int, Field(ge=2)] = 100
    """Groups of fewer users are shown, and decide nothing."""
    unfair_release: Literal["baselines", "refuse"] = "baselines"
    """What decides where there is a release that cannot be compared with, since it has seen what is held out
    now or cannot be evaluated: floor and baselines alone, or the model is refused."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        if self.ks is not None and self.blessing_metric is not None:
            known = metric_names(self.ks)
            if self.blessing_metric not in known:
                raise ValueError(f"blessing_metric {self.blessing_metric!r} is none of {known}")
        elif self.blessing_metric is not None and not re.fullmatch(
            rf"({'|'.join(METRICS)})_at_[1-9][0-9]*", self.blessing_metric
        ):
            raise ValueError(
                f"blessing_metric: expected one of {list(METRICS)} with a cut-off, such as recall_at_10. "
                f"Received: {self.blessing_metric!r}"
            )
        for name in self.blessing_baselines or ():
            if name not in self.shown_baselines:
                nearest = difflib.get_close_matches(name, self.shown_baselines, n=1)
                raise ValueError(
                    f"blessing_baselines: expected some of baselines, {list(self.shown_baselines)}. "
                    f"Received: {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
                )
        return self

    @property
    def shown_baselines(self) -> tuple[str, ...]:
        """The baselines that are computed."""
        return tuple(dict.fromkeys([*ALWAYS_SHOWN, *self.baselines]))

    @property
    def deciding_baselines(self) -> tuple[str, ...]:
        """The baselines that the model must beat."""
        named = self.blessing_baselines
        if named is None:
            named = tuple(
                name for name in ("popularity", "recent_popularity") if name in self.shown_baselines
            )
        return tuple(dict.fromkeys(["chance", *named]))


@dataclass(frozen=True)
class Protocol:
    """The cut-offs for a catalogue, and the metric that decides."""

    ks: tuple[int, ...]
    """The cut-offs."""
    deciding_metric: str
    """The name of the metric."""


def choose_protocol(config: EvaluationConfig, catalogue_items: int) -> Protocol:
    """Choose the cut-offs by the size of the catalogue, or refuse those that are configured.

    Args:
        config: The settings.
        catalogue_items: Number of items.

    Returns:
        The cut-offs and the metric that decides.

    Raises:
        ConfigError: A cut-off is no smaller than the catalogue, or the metric has none of the cut-offs.
    """
    ks = default_cut_offs(catalogue_items) if config.ks is None else config.ks
    if catalogue_items < 2:
        raise ConfigError(
            "Expected a catalogue of at least two items, so that there is something to rank. Received: "
            f"{catalogue_items}."
        )
    too_large = [k for k in ks if k >= catalogue_items]
    if too_large:
        raise ConfigError(
            f"evaluation.ks: expected cut-offs below the {catalogue_items:,} items of the catalogue. "
            f"Received: {', '.join(map(str, too_large))}: such a list holds every item, so that every model "
            "has a recall of 1. Leave evaluation.ks out, or make them smaller."
        )
    metric = config.blessing_metric or f"recall_at_{max(ks)}"
    if metric not in metric_names(ks):
        raise ConfigError(
            f"evaluation.blessing_metric: expected one of {metric_names(ks)}, the cut-offs for a catalogue "
            f"of {catalogue_items:,} items. Received: {metric!r}. Set evaluation.ks to the cut-off that you "
            "want."
        )
    return Protocol(ks, metric)
