"""Values of items that the released item tower has no embedding row of its own for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.interaction_ingest.columns import to_mask
from pipeline.retraining.catalogue import CatalogueChange
from schemas import storage
from schemas.contract import VOCABULARIES, VOCABULARY_SUFFIX
from schemas.features import Feature, FeatureSpec, HashedEncoding, VocabularyEncoding
from schemas.release import ReleasedState, read_state_file

_EMPTY: Final = pa.scalar(b"", pa.binary())


@dataclass(frozen=True)
class UnknownValues:
    """What of the new values of a catalogue the item tower encodes as unknown."""

    by_feature: Mapping[str, int]
    """Number of such values by feature, of those that have any."""
    items: npt.NDArray[np.bool_]
    """[items] whether an item has any."""
    without_vocabulary: tuple[str, ...]
    """Features whose vocabulary the release does not keep, so that nothing is known of their values."""


def read_vocabularies(spec: FeatureSpec, state: ReleasedState) -> dict[str, pa.Array]:
    """Read the vocabularies of the item features that a release keeps.

    Args:
        spec: The features.
        state: The release's state.

    Returns:
        [entries] binary by feature.

    Raises:
        ReleaseError: A file is another one than was pushed.
        StorageError: The release's store cannot be reached or refuses.
    """
    vocabularies: dict[str, pa.Array] = {}
    if state.location is None:
        return vocabularies
    for feature in spec.tower_features("item"):
        if isinstance(feature.encoding, VocabularyEncoding):
            try:
                content = read_state_file(state, f"{VOCABULARIES}/{feature.name}{VOCABULARY_SUFFIX}")
            except storage.NotFoundError:
                continue
            vocabularies[feature.name] = pa.array(content.split(b"\n")[:-1], pa.binary())
    return vocabularies


def find_unknown_values(
    catalogue: pa.Table, change: CatalogueChange, spec: FeatureSpec, vocabularies: Mapping[str, pa.Array]
) -> UnknownValues:
    """Count the values that are new in a catalogue and that no training gave an embedding row of their own.

    These are values that are not in the vocabulary of their feature, and ids of new items where the id is
    hashed: such an id has the row of whichever trained items share its bucket. Other hashed features have
    no vocabulary to be held against. An empty text is never in a vocabulary and does not count.

    Args:
        catalogue: The new catalogue.
        change: How it differs from the release's.
        spec: The features.
        vocabularies: What `read_vocabularies` gave.

    Returns:
        The values, of new items and of those features of the others that have changed.
    """
    has_unknown = np.zeros(len(catalogue), bool)
    by_feature: dict[str, int] = {}
    without: list[str] = []
    for feature in spec.tower_features("item"):
        is_looked_at = change.is_new | change.find_changed([feature.name])
        counts = np.zeros(len(catalogue), np.int64)
        match feature.encoding:
            case VocabularyEncoding() if feature.name not in vocabularies:
                without.append(feature.name)
            case VocabularyEncoding():
                column = catalogue.column(feature.name).filter(pa.array(is_looked_at)).combine_chunks()
                counts[is_looked_at] = _count_outside(column, feature, vocabularies[feature.name])
            case HashedEncoding() if feature.role is not None:
                counts[is_looked_at] = 1
        if counts.any():
            by_feature[feature.name] = int(counts.sum())
            has_unknown |= counts > 0
    return UnknownValues(by_feature, has_unknown, tuple(without))


def _count_outside(column: pa.Array, feature: Feature, vocabulary: pa.Array) -> npt.NDArray[np.int64]:
    """Count for each of [rows] the values that are not in a vocabulary."""
    values = column.flatten() if feature.is_list else column
    # As Transform writes integers that are labels.
    labels = values.cast(pa.string()).cast(pa.binary())
    is_known = pc.is_in(labels, value_set=vocabulary)
    is_outside = to_mask(pc.and_(pc.invert(is_known), pc.not_equal(labels, _EMPTY)))
    if not feature.is_list:
        return is_outside.astype(np.int64)
    owners = pc.list_parent_indices(column).to_numpy()
    return np.bincount(owners[is_outside], minlength=len(column))
