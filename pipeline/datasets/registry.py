"""The data sets that can be downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DataSet:
    """A data set that can be downloaded."""

    function: str
    """Module and name of the function that writes its tables to a folder, imported where it is called."""
    config: str
    """The configuration that is shipped for it."""


DATA_SETS: Final[Mapping[str, DataSet]] = {
    "movielens-100k": DataSet(
        "pipeline.datasets.movielens:fetch_movielens_100k", "pipeline/configs/movielens_100k.yaml"
    ),
    "completejourney": DataSet(
        "pipeline.datasets.completejourney:fetch_completejourney", "pipeline/configs/completejourney.yaml"
    ),
}
"""By the name that `dssm fetch` knows them by."""
