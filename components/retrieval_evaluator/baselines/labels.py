"""The baselines' names, without SciPy, which the baselines need and whoever reads a configuration does not."""

from typing import Final

LABELS: Final[dict[str, str]] = {
    "popularity": "popularity",
    "recent_popularity": "recent popularity",
    "item_knn": "item-kNN",
    "markov": "Markov chain of the last items",
    "als": "ALS (implicit)",
}
"""By the name in the configuration, what a reader of the report sees."""
