import numpy as np
import pytest
import scipy.sparse

from components.retrieval_evaluator.baselines import products
from components.retrieval_evaluator.baselines.products import (
    count_products,
    rank_by_product,
    split_into_blocks,
)
from schemas.ranking import ItemSets, rank_targets

pytestmark = pytest.mark.unit


def test_blocks_are_bounded_and_cover_all_rows():
    left = scipy.sparse.csr_array(np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 1]]))
    right = scipy.sparse.csr_array(np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]]))
    assert count_products(left, right).tolist() == [5, 1, 0, 4, 3]
    assert list(split_into_blocks(left, right, 5)) == [slice(0, 1), slice(1, 4), slice(4, 5)]
    # A row with more than there may be is a block.
    assert list(split_into_blocks(left, right, 4)) == [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 5)]
    assert list(split_into_blocks(left, right, 100)) == [slice(0, 5)]


@pytest.mark.parametrize("block_products", [1, 40, 10**6])
def test_ranks_are_those_of_the_dense_product(block_products, monkeypatch):
    monkeypatch.setattr(products, "BLOCK_PRODUCTS", block_products)
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2, (15, 8)).astype(np.float32)
    right = (rng.integers(0, 3, (8, 8)) * rng.integers(0, 2, (8, 8))).astype(np.float32)
    kind = rng.choice(3, (15, 8), p=[0.6, 0.2, 0.2])
    targets = ItemSets.from_pairs(*np.nonzero(kind == 1), 15)
    masked = ItemSets.from_pairs(*np.nonzero(kind == 2), 15)
    ranks = rank_by_product(scipy.sparse.csr_array(left), scipy.sparse.csr_array(right), targets, masked)
    expected = rank_targets(left @ right, targets, masked)
    np.testing.assert_array_equal(ranks.better, expected.better)
    np.testing.assert_array_equal(ranks.tied, expected.tied)
