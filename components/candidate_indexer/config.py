"""Settings of CandidateIndexer."""

from pydantic.dataclasses import dataclass

from schemas.contract import FILTER_INPUT, RETRIEVER_INPUTS
from schemas.errors import ConfigError
from schemas.features import Feature, FeatureSpec
from schemas.strict_config import STRICT


@dataclass(frozen=True, config=STRICT)
class RetrieverConfig:
    """The servable that answers a whole recommendation."""

    filter: str | None = None
    """An item feature, a string or an integer, such as genres: a request may then name values of it in the
    input `filter`, and gets items with any of them alone. Null: there is no such input."""


def check_retriever(config: RetrieverConfig, spec: FeatureSpec) -> None:
    """Refuse a filter that is no label of an item, and names that the retriever needs for itself.

    Args:
        config: The settings.
        spec: The features.

    Raises:
        ConfigError: There is such a filter or such a name.
    """
    usable = [feature.name for feature in spec.table_features("item") if _is_label(feature)]
    if config.filter is not None and config.filter not in usable:
        raise ConfigError(
            "retriever.filter: expected an item feature that is a string or an integer and not the id, "
            + (f"one of {', '.join(usable)}" if usable else "of which there is none")
            + f". Received: {config.filter!r}."
        )
    inputs = [feature.name for feature in spec.tower_features("user")]
    if spec.history is not None:
        inputs += spec.history.columns
    taken = [name for name in inputs if name in RETRIEVER_INPUTS]
    if config.filter is None:
        taken = [name for name in taken if name != FILTER_INPUT]
    if taken:
        raise ConfigError(
            f"Expected no input of the user tower named {' or '.join(taken)}: the retriever, which takes all "
            f"of them, has inputs of its own of that name. Received: one. Choose another name, and map it to "
            "the column under 'columns' of the table."
        )


def _is_label(feature: Feature) -> bool:
    return feature.role is None and feature.dtype in ("string", "int")
