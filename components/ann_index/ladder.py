"""The indexes that are tried, from those that are quick to build to those that are slow."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from components.ann_index.config import Kind
from schemas.cores import usable_cores

EFFORTS: Final[Mapping[str, Sequence[int]]] = {
    "nprobe": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    "efSearch": (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768),
}
"""By faiss's name of it, how much of an index a query looks at. More finds more, and takes longer."""

EFFORT_OF: Final[Mapping[Kind, str]] = {"ivf_sq8": "nprobe", "ivf_flat": "nprobe", "hnsw": "efSearch"}
"""Which of them a kind has, the kinds that are quick to build first."""

RERANKED: Final = 4
"""How many times k items an index with rounded numbers gives, for their exact scores to be compared."""

_HNSW: Final = ({"M": 16, "efConstruction": 100}, {"M": 32, "efConstruction": 200})
# Lists by the square root of the number of items: few are cheap to choose from, many are short.
_LISTS: Final = (1, 4)
# Of k-means for the lists' centres.
_ROUNDS, _ITEMS_PER_CENTRE = 10, 40


@dataclass(frozen=True)
class Build:
    """How an index is built."""

    kind: Kind
    """Its kind."""
    parameters: Mapping[str, int]
    """By faiss's names: `nlist`, or `M` and `efConstruction`."""

    @property
    def fetched(self) -> int:
        """How many times k items a search asks the index for."""
        return RERANKED if self.kind == "ivf_sq8" else 1


def list_branches(kinds: Sequence[Kind], items: int) -> list[list[Build]]:
    """List what is tried for a catalogue.

    Args:
        kinds: Kinds of index.
        items: Number of items.

    Returns:
        Branches in the order of their cost, and of each the builds in that order: one is worth its cost only
        where the one before cannot find enough.
    """
    branches: list[list[Build]] = []
    for kind in sorted(dict.fromkeys(kinds), key=list(EFFORT_OF).index):
        if kind == "hnsw":
            branches.append([Build(kind, parameters) for parameters in _HNSW])
        else:
            branches += [[Build(kind, {"nlist": _count_lists(items, times)})] for times in _LISTS]
    return branches


def _count_lists(items: int, times: int) -> int:
    return int(2 ** round(math.log2(times * math.sqrt(items))))


def build_index(build: Build, embeddings: npt.NDArray[np.float32], seed: int) -> Any:
    """Build an index.

    Args:
        build: What to build.
        embeddings: [items, dim].
        seed: Of the items at which k-means begins.

    Returns:
        A faiss index that holds every item under its row number, by inner product.
    """
    faiss = load_faiss()
    dim = embeddings.shape[1]
    vectors = np.ascontiguousarray(embeddings, np.float32)
    if build.kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, build.parameters["M"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = build.parameters["efConstruction"]
    else:
        storage = "SQ8" if build.kind == "ivf_sq8" else "Flat"
        index = faiss.index_factory(
            dim, f"IVF{build.parameters['nlist']},{storage}", faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed = seed
        index.cp.niter = _ROUNDS
        index.cp.max_points_per_centroid = _ITEMS_PER_CENTRE
        # Else it warns of small catalogues, whose recall is measured like that of the others.
        index.cp.min_points_per_centroid = 1
        index.train(vectors)
    index.add(vectors)
    return index


def load_faiss() -> Any:
    """Load faiss, with no more threads than there are cores for this process.

    Returns:
        The module.
    """
    # Threads that wait would else keep a core busy, which others may need to get done; read when faiss loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import faiss

    faiss.omp_set_num_threads(usable_cores())
    return faiss
