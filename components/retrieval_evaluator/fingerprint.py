"""Whether two evaluations ask the same of the same users."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from components.retrieval_evaluator.data import EvaluationData
from schemas.ranking import Candidates, ItemSets

# Odd numbers, so that an item counts otherwise as a target than as one that is masked.
_TARGET, _MASKED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def fingerprint_queries(
    data: EvaluationData, item_ids: pa.ChunkedArray, user_id: str, candidates: Candidates
) -> str:
    """Hash who is asked, what is to be found, and what is ranked for whom.

    Equal for two evaluations whose users can be compared one by one, in whatever order they come.

    Args:
        data: The queries.
        item_ids: [items] the ids of the catalogue.
        user_id: Name of the user id column.
        candidates: What is ranked.

    Returns:
        A SHA-256 in hexadecimal.
    """
    items = _hash_ids(item_ids.to_pylist())
    queries = _hash_ids(data.attributes[user_id].to_pylist())
    queries += _sum_by_query(items * _TARGET, data.targets) + _sum_by_query(items * _MASKED, data.masked)
    total = hashlib.sha256(candidates.encode())
    for hashes in (items, queries):
        total.update(np.sort(hashes).tobytes())
    return total.hexdigest()


def _hash_ids(ids: Iterable[object]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(str(value).encode(), digest_size=8).digest() for value in ids)
    return np.frombuffer(digests, "<u8").copy()


def _sum_by_query(hashes: npt.NDArray[np.uint64], sets: ItemSets) -> npt.NDArray[np.uint64]:
    """Add up the hashes of each query's items, modulo 2^64."""
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes[sets.items], dtype=np.uint64)])
    return sums[sets.offsets[1:]] - sums[sets.offsets[:-1]]
