"""One release, loaded: everything that answers are made from. Nothing of it changes."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from components.ann_document import EXACT
from components.ann_index.search import Ann, read_ann
from components.candidate_indexer.logic import read_index
from pipeline.queries.ranking import rank_items
from pipeline.serving.batching import Batcher
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.metrics import Metrics
from pipeline.serving.models import ServedModel, load_model
from pipeline.serving.ranking import (
    Ranker,
    Ranking,
    join_rankers,
    make_retriever_ranker,
    make_tower_ranker,
    search_without,
)
from pipeline.serving.recommending import Recommender
from pipeline.serving.users import Users, read_users
from schemas.contract import (
    ANN,
    FILTER_INPUT,
    INDEX,
    ITEM_TOWER,
    RAW_SIGNATURE,
    RETRIEVER,
    RETRIEVER_VERSION_FILE,
    USER_TOWER,
    USERS,
)
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.release import Release, read_part_id, read_release
from schemas.tensorflow_alone import import_tensorflow_alone

SERVABLES: Final = (USER_TOWER, ITEM_TOWER, RETRIEVER)
"""The parts of a release that are called by TensorFlow Serving's REST format."""

# The first call of the retriever takes longest, and goes on while the towers are loaded.
_LOADED_IN_TURN: Final = (RETRIEVER, USER_TOWER, ITEM_TOWER)

BATCH_QUERIES: Final = 64
"""The most recommendations that are computed by one call of the model."""


@dataclass(frozen=True)
class EngineSettings:
    """What loading a release needs to know beside the release."""

    serving_directory: str
    """The folder of the releases: a path or URI."""
    cache_directory: Path
    """Where copies of releases from an object store go."""
    spec: FeatureSpec
    """The features."""
    schema: str
    """Where they were read from, for messages."""
    ranks_new_items: bool
    """Whether what a user had before is not recommended: `evaluation.candidates` is `new`."""
    calls: int = 2
    """Batches of recommendations that are computed at the same time."""


@dataclass(frozen=True)
class Engine:
    """A loaded release."""

    release: Release
    """Where it came from."""
    models: dict[str, ServedModel]
    """By the names in `SERVABLES`; an earlier program's release has no retriever."""
    catalogue: Catalogue
    """The items."""
    embeddings: npt.NDArray[np.float32]
    """[items, dim]."""
    ann: Ann | None
    """The approximate index; None where all scores are looked at."""
    users: Users | None
    """The users; None in a release without them."""
    recommender: Recommender
    """From requests to queries, and from rankings to answers."""
    batcher: Batcher
    """Computes the rankings."""
    load_seconds: float
    """How long loading it took."""

    @property
    def version(self) -> int:
        """The release's version."""
        return self.release.version

    def find_similar(self, row: int, k: int) -> Ranking:
        """Find the items whose embeddings are nearest to an item's.

        Args:
            row: The item's row.
            k: How many others.

        Returns:
            The items, without the item itself.
        """
        own = np.array([row])
        if self.ann is not None:
            return search_without(self.ann, self.embeddings[row], own, k)
        return Ranking(*rank_items(self.embeddings @ self.embeddings[row], own, k))


def load_engine(settings: EngineSettings, version: int, pool: ThreadPoolExecutor, metrics: Metrics) -> Engine:
    """Load a release, and call every model once, so that the first request finds them ready.

    Args:
        settings: Where the release is, and how its answers are made.
        version: The release's version.
        pool: The threads that models are called on.
        metrics: Where batches are counted.

    Returns:
        The engine.

    Raises:
        DssmError: The release cannot be reached, is damaged, is mixed of several trainings, or does not fit
            the features.
    """
    start = time.monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as reader:
        # Hashing every byte of a large release takes as long as TensorFlow does.
        reading = reader.submit(_read_parts, settings, version)
        import_tensorflow_alone()
        parts = reading.result()
    release, catalogue, embeddings = parts.release, parts.catalogue, parts.embeddings
    spec = settings.spec
    models = _load_models(release, pool)
    ann = None if release.ann is None else _read_ann(release.ann, embeddings, release.manifest.model_id)
    inputs = models[USER_TOWER].signatures[RAW_SIGNATURE].inputs
    users = None
    if release.users is not None:
        reads_times = spec.history is not None and spec.history.gap_column in inputs
        users = read_users(release.users, spec, catalogue.ids, with_times=reads_times)
    rank = _make_ranker(models, catalogue, embeddings, ann)
    recommender = Recommender(
        version,
        spec,
        settings.schema,
        settings.ranks_new_items,
        inputs,
        catalogue,
        users,
        has_filter=RETRIEVER in models and FILTER_INPUT in models[RETRIEVER].signatures[RAW_SIGNATURE].inputs,
    )
    return Engine(
        release=release,
        models=models,
        catalogue=catalogue,
        embeddings=embeddings,
        ann=ann,
        users=users,
        recommender=recommender,
        batcher=Batcher(rank, pool, settings.calls, BATCH_QUERIES, metrics.batch),
        load_seconds=time.monotonic() - start,
    )


@dataclass(frozen=True)
class _Parts:
    """What is read of a release without TensorFlow."""

    release: Release
    catalogue: Catalogue
    embeddings: npt.NDArray[np.float32]


def _read_parts(settings: EngineSettings, version: int) -> _Parts:
    """Verify a release, and read its index."""
    # An answer never takes more than one release: the parts are those of one version, and of one training.
    release = read_release(
        settings.serving_directory,
        version,
        settings.cache_directory,
        parts=(INDEX, ANN, *SERVABLES, USERS),
    )
    for part, path in release.paths.items():
        read_part_id(path, part, expected_model_id=release.manifest.model_id)
    if release.retriever is not None:
        _check_version(release.retriever, version)
    index = read_index(release.index)
    return _Parts(
        release=release,
        catalogue=Catalogue(index.catalogue, settings.spec.item_id.name, settings.spec.tables.display),
        # Mapped pages would be read from the disk in the middle of a request.
        embeddings=np.array(index.embeddings),
    )


def _load_models(release: Release, pool: ThreadPoolExecutor) -> dict[str, ServedModel]:
    """Load the models, and call each once while the next ones are loaded."""
    models: dict[str, ServedModel] = {}
    calls = []
    for name in _LOADED_IN_TURN:
        if name in release.paths:
            models[name] = load_model(name, release.version, release.paths[name])
            signature = models[name].signatures[RAW_SIGNATURE]
            calls.append(pool.submit(signature.call, signature.make_example()))
    for call in calls:
        call.result()
    return {name: models[name] for name in SERVABLES if name in models}


def _check_version(retriever: Path, version: int) -> None:
    file = retriever / "assets" / RETRIEVER_VERSION_FILE
    try:
        found = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ReleaseError(f"Cannot read {file}: {error}. Push a new release.") from error
    if found != str(version):
        raise ReleaseError(
            f"{file}: expected {version}, the version of the release. Received: {found!r:.40}. Push a new "
            "release."
        )


def _read_ann(folder: Path, embeddings: npt.NDArray[np.float32], model_id: str) -> Ann | None:
    ann = read_ann(folder, embeddings, model_id)
    return None if ann.document.kind == EXACT else ann


def _make_ranker(
    models: dict[str, ServedModel],
    catalogue: Catalogue,
    embeddings: npt.NDArray[np.float32],
    ann: Ann | None,
) -> Ranker:
    tower = make_tower_ranker(models[USER_TOWER].signatures[RAW_SIGNATURE], embeddings, ann)
    if RETRIEVER not in models:
        return tower
    retriever = make_retriever_ranker(models[RETRIEVER].signatures[RAW_SIGNATURE], catalogue)
    # An approximate index is there because it is faster; it knows no filter.
    return retriever if ann is None else join_rankers(tower, retriever)
