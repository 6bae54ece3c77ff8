"""From a trained model and its candidate index to an approximate index beside it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from components.ann_document import EXACT, AnnDocument, write_document
from components.ann_index.config import AnnConfig
from components.ann_index.ladder import load_faiss
from components.ann_index.queries import embed_users
from components.ann_index.tune import MINIMUM_QUERIES, Chosen, choose_index
from components.candidate_indexer.logic import IndexData, read_index
from components.towers import load_tower
from schemas.contract import ANN_INDEX_FILE, PROGRESS_LOGGER, USER_TOWER
from schemas.features import FeatureSpec
from schemas.release import read_part_id


@dataclass(frozen=True)
class AnnInputs:
    """What an approximate index is made of."""

    user_tower: Path
    """The user tower's SavedModel."""
    index: Path
    """The candidate index."""
    sequences: Path | None
    """The sequences, whose users with held-out items are the queries; None: there are none, and the search is
    exact."""


def build_ann(inputs: AnnInputs, output: Path, spec: FeatureSpec, config: AnnConfig) -> AnnDocument:
    """Choose an index for the catalogue and write it, or write that the search is exact.

    Args:
        inputs: The artifacts.
        output: Folder of the part, made if it is missing.
        spec: The features.
        config: What is tried and what is enough.

    Returns:
        What is known of the index.

    Raises:
        DataError: The sequences are not those of the features and the catalogue.
        ReleaseError: The tower and the candidate index come from different trainings.
        TrainingError: A user's embedding is not finite.
    """
    of_history = [feature.name for feature in spec.history_features]
    index = read_index(inputs.index, list(dict.fromkeys([spec.item_id.name, *of_history])))
    read_part_id(inputs.user_tower, USER_TOWER, expected_model_id=index.model_id)
    chosen = _choose(inputs, index, spec, config)
    output.mkdir(parents=True, exist_ok=True)
    if chosen.index is not None:
        load_faiss().write_index(chosen.index, str(output / ANN_INDEX_FILE))
    write_document(chosen.document, output)
    logging.getLogger(PROGRESS_LOGGER).info(describe(chosen.document))
    return chosen.document


def _choose(inputs: AnnInputs, index: IndexData, spec: FeatureSpec, config: AnnConfig) -> Chosen:
    items = len(index.embeddings)
    fewest = max(config.minimum_items, config.k)
    if items < fewest:
        return _exact(index, config, f"the catalogue has {items:,} items, fewer than {fewest:,}")
    if not config.kinds:
        return _exact(index, config, "ann.kinds names no index")
    if inputs.sequences is None:
        return _exact(index, config, "there are no users to measure the recall of an index on")
    queries = embed_users(
        load_tower(inputs.user_tower, USER_TOWER),
        inputs.sequences,
        index.catalogue,
        spec,
        config.queries,
        config.seed,
    )
    if len(queries) < MINIMUM_QUERIES:
        return _exact(
            index,
            config,
            f"{len(queries):,} users have held-out items, and it takes {MINIMUM_QUERIES} to tell a recall",
        )
    return choose_index(index.embeddings, queries, config, index.model_id)


def _exact(index: IndexData, config: AnnConfig, reason: str) -> Chosen:
    document = AnnDocument(
        model_id=index.model_id,
        kind=EXACT,
        items=len(index.embeddings),
        k=config.k,
        target_recall=config.target_recall,
        floor=config.smallest_recall,
        reason=reason,
    )
    return Chosen(document, None)


def describe(document: AnnDocument) -> str:
    """Say in a sentence how the catalogue is searched.

    Args:
        document: What is known of the index.

    Returns:
        The sentence.
    """
    if document.speedup is None:
        return f"Search is exact: {document.reason}."
    parameters = ", ".join(f"{name} {value:,}" for name, value in document.parameters.items())
    return (
        f"Search by {document.kind} ({parameters}): recall@{document.k} {document.recall:.4f} against exact "
        f"search on {document.queries:,} queries, {document.ann_ms:.2f} ms a query instead of "
        f"{document.exact_ms:.2f}, {document.speedup:.0f} times as fast."
    )
