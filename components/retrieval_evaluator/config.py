"""Settings of RetrievalEvaluator."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schemas.ranking import Candidates
from schemas.ranking.metrics import metric_names
from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """How a model is judged."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = (10, 50, 100)
    """The cut-offs K of Recall@K, NDCG@K, MRR@K, MAP@K and the hit rate at K."""
    candidates: Candidates = "new"
    """What can be recommended: here, in the training's validation and by `dssm recommend`. `new`: what the
    user does not have; a held-out item that the user had before is not asked for. `all`: anything, as where
    people buy again; every held-out item is asked for."""
    blessing_metric: str = "recall_at_100"
    """The metric that decides: recall_at_K, ndcg_at_K, mrr_at_K, map_at_K or hit_rate_at_K with one of the
    cut-offs."""
    blessing_minimum: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """The model is blessed when the metric is at least this and above the popularity baseline's."""
    users: Annotated[int, Field(ge=1)] | None = None
    """Evaluate a random sample of this many of the users with held-out items, which the report says; null:
    all of them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Equal seeds draw the same users from the same data."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationConfig":
        known = metric_names(self.ks)
        if self.blessing_metric not in known:
            raise ValueError(f"blessing_metric {self.blessing_metric!r} is none of {known}")
        return self
