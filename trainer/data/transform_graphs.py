"""What the Transform steps wrote: a graph for the user side, one for the items, one for the context."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.contract import VOCABULARY_SUFFIX
from schemas.errors import DataError
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
            DataError: It is that of the context features, and none was given.
        """
        folder = {"user": self.user, "item": self.item, "context": self.context}[tower]
        if folder is None:
            raise DataError(
                "Expected a transform graph of the context features of the schema file. Received: none. "
                "Give ContextTransform's artifact transform_graph (--context-transform of dssm train)."
            )
        return folder

    def read_vocabulary(self, feature: Feature) -> list[bytes]:
        """Read the vocabulary of a feature.

        Args:
            feature: A feature with a vocabulary.

        Returns:
            Its entries in the order of their indices: the most frequent one first.

        Raises:
            DataError: There is no such graph, or it has no vocabulary of the feature.
        """
        file = Path(saved_model_folder(self.folder(feature.tower)), _ASSETS, feature.name + VOCABULARY_SUFFIX)
        try:
            return file.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError as error:
            raise DataError(
                f"Expected the vocabulary of {feature.name} in {file}. Received: no such file. Give the "
                f"transform graph of the {feature.tower} features, made with this schema file, or run the "
                "Transform step again."
            ) from error


def saved_model_folder(graph: str) -> str:
    """Tell where the SavedModel of a transform graph is.

    Args:
        graph: The artifact's folder.

    Returns:
        The folder that `tf.saved_model.load` takes.
    """
    return str(Path(graph, _SAVED_MODEL))
