"""What the Transform steps wrote: a graph for the user side, one for the items, one for the context."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.contract import VOCABULARY_SUFFIX
from schemas.features import Feature, Tower

# TFT's layout of the artifact: tft.TFTransformOutput would read it too, but imports Beam and its like, which
# take seconds that a training does not need.
_SAVED_MODEL: Final = "transform_fn"
_ASSETS: Final = "assets"


@dataclass(frozen=True)
class TransformGraphs:
    """The folders of the artifacts `transform_graph`, one for each table that features are read from."""

    user: str
    """That of UserTransform."""
    item: str
    """That of ItemTransform, which also encodes the items of a history."""
    context: str | None = None
    """That of ContextTransform; None without context features."""

    def folder(self, tower: Tower) -> str:
        """Tell the folder of the graph that encodes the features of a table.

        Args:
            tower: `Feature.tower`.

        Returns:
            The artifact's folder.

        Raises:
            ValueError: It is that of the context features, and there is none.
        """
        folder = {"user": self.user, "item": self.item, "context": self.context}[tower]
        if folder is None:
            raise ValueError("expected a transform graph of the context features. Received: None")
        return folder

    def read_vocabulary(self, feature: Feature) -> list[bytes]:
        """Read the vocabulary of a feature.

        Args:
            feature: A feature with a vocabulary.

        Returns:
            Its entries in the order of their indices: the most frequent one first.
        """
        file = Path(saved_model_folder(self.folder(feature.tower)), _ASSETS, feature.name + VOCABULARY_SUFFIX)
        return file.read_bytes().split(b"\n")[:-1]


def saved_model_folder(graph: str) -> str:
    """Tell where the SavedModel of a transform graph is.

    Args:
        graph: The artifact's folder.

    Returns:
        The folder that `tf.saved_model.load` takes.
    """
    return str(Path(graph, _SAVED_MODEL))
