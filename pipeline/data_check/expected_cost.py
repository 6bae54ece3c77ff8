"""How long a run takes and how much memory it needs, roughly, from what was measured.

benchmarks/results/pipeline.json, two cores of 2.5 GHz, history of 20, batch 512, width 64: 1,000,000 and
10,000,000 interactions took 105 and 921 seconds with one epoch of 58 and 790, at most 1.48 and 1.67 GB.
"""

from dataclasses import dataclass
from typing import Final

from pipeline.config import PipelineConfig
from schemas.features import FeatureSpec

ROUGHNESS: Final = 3
"""By what factor another machine, other features or another batch may be away from it."""
_FIXED_SECONDS: Final = 45.0
_SECONDS_PER_ROW: Final = 9e-6
_EPOCH_SECONDS_PER_ROW: Final = 70e-6
_MEASURED_HISTORY: Final = 20
_MEASURED_DIM: Final = 64
_FIXED_BYTES: Final = 1.45e9
_BYTES_PER_ROW: Final = 25.0


@dataclass(frozen=True)
class ExpectedCost:
    """What a run takes."""

    seconds: float
    """Of the whole run, with as many epochs as are configured."""
    epoch_seconds: float
    """Of one epoch."""
    memory_bytes: float
    """The most that all of its processes hold at one time."""


def expect_cost(rows: int, config: PipelineConfig, spec: FeatureSpec) -> ExpectedCost:
    """Say what a run takes.

    Args:
        rows: Interactions that are trained on.
        config: The settings.
        spec: The features.

    Returns:
        The figures, right within a factor of `ROUGHNESS`.
    """
    length = 1 if spec.history is None else spec.history.length
    # Half of a step belongs to the loss and the towers, half to the history.
    relative = 0.5 * config.model.dim / _MEASURED_DIM + 0.5 * length / _MEASURED_HISTORY
    epoch = rows * _EPOCH_SECONDS_PER_ROW * relative
    stopping = config.training.early_stopping
    passes = config.training.epochs * (2 if stopping is not None and stopping.refit else 1)
    return ExpectedCost(
        seconds=_FIXED_SECONDS + rows * _SECONDS_PER_ROW + passes * epoch,
        epoch_seconds=epoch,
        memory_bytes=_FIXED_BYTES + rows * _BYTES_PER_ROW,
    )
