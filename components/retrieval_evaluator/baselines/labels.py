"""The baselines' names, for whoever reads a configuration and needs no SciPy for that."""

from typing import Final

LABELS: Final[dict[str, str]] = {
    "chance": "chance",
    "popularity": "popularity",
    "recent_popularity": "recent popularity",
    "personal_frequency": "personal frequency",
    "item_knn": "item-kNN",
    "markov": "Markov chain of the last items",
    "als": "ALS (implicit)",
}
"""By the name in the configuration, what a reader of the report sees."""
