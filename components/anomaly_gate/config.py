"""Settings of AnomalyGate."""

from pydantic.dataclasses import dataclass

from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """What stops the run before anything is trained, besides anomalies."""

    fatal_drift: bool = False
    """Whether the run stops where the train split is further from that of the last release than a feature's
    `drift_threshold` in the schema file allows. False: it is reported, and the run goes on."""
