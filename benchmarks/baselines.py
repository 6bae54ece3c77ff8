"""Well-known recommenders that the pipeline's model is measured against.

Each function takes the training interactions as two arrays of indices and returns a score for every
user and item; masking what a user has seen, and the metrics, are the evaluation's. Scores of
different functions are not comparable, only their order within a user.

The defaults were chosen on MovieLens-100K: trained without each user's last two interactions, the
largest NDCG@100 on the second-last; the last one had no part in it. Tried were 5 to all neighbours for
item-kNN; 50 to 2,000 for EASE's weight; for ALS 32 to 256 factors, regularization 0.01 to 30 and alpha 1,
2 and 4; for BPR 32 to 128 factors, learning rates 0.01 to 0.05, regularization 0.003 to 0.1 and 50 to 800
iterations. Among the best few, the differences are well within the noise of 943 users.
"""

import numpy as np
import scipy.sparse
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray

from components.retrieval_evaluator.baselines.als import fit_als
from components.retrieval_evaluator.baselines.item_knn import find_neighbours

Indices = NDArray[np.integer]
Scores = NDArray[np.float32]


def score_popularity(users: Indices, items: Indices, shape: tuple[int, int]) -> Scores:
    """Score an item by the number of its interactions, the same for every user.

    Args:
        users: [interactions] user indices.
        items: [interactions] item indices.
        shape: Number of users and of items.

    Returns:
        [users, items] float32 scores.
    """
    counts = np.bincount(items, minlength=shape[1]).astype(np.float32)
    return np.broadcast_to(counts, shape).copy()


def score_item_knn(users: Indices, items: Indices, shape: tuple[int, int], neighbours: int = 10) -> Scores:
    """Score an item by its cosine similarity to the user's items, among each item's nearest neighbours.

    score(u, j) = sum over i in items(u) of S_ij, with
    S_ij = |users(i) & users(j)| / sqrt(|users(i)| |users(j)|)
    for the `neighbours` items i most similar to j, else 0 (Deshpande & Karypis 2004).

    Args:
        users: [interactions] user indices.
        items: [interactions] item indices.
        shape: Number of users and of items.
        neighbours: Similar items kept per item.

    Returns:
        [users, items] float32 scores.
    """
    matrix = _interaction_matrix(users, items, shape)
    return (matrix @ find_neighbours(matrix, neighbours).T).toarray()


def score_ease(users: Indices, items: Indices, shape: tuple[int, int], l2_weight: float = 160.0) -> Scores:
    """Score with the closed-form linear auto-encoder EASE (Steck 2019).

    With X the binary [users, items] matrix and P = (X'X + l2_weight I)^-1, the weights are
    B_ij = -P_ij / P_jj off the diagonal and 0 on it; the scores are X B.

    Args:
        users: [interactions] user indices.
        items: [interactions] item indices.
        shape: Number of users and of items.
        l2_weight: Weight of the squared norm of B.

    Returns:
        [users, items] float32 scores.
    """
    matrix = _interaction_matrix(users, items, shape)
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2_weight
    precision = np.linalg.inv(gram)
    weights = -precision / precision.diagonal()
    np.fill_diagonal(weights, 0.0)
    return np.asarray(matrix @ weights, np.float32)


def score_als(
    users: Indices,
    items: Indices,
    shape: tuple[int, int],
    factors: int = 256,
    regularization: float = 15.0,
    alpha: float = 2.0,
    iterations: int = 15,
    seed: int = 0,
) -> Scores:
    """Score with a matrix factorised by alternating least squares (Hu, Koren & Volinsky 2008).

    Args:
        users: [interactions] user indices.
        items: [interactions] item indices.
        shape: Number of users and of items.
        factors: Dimension of the factors.
        regularization: Weight of the factors' squared norms.
        alpha: Confidence of an interaction; a missing one has 1.
        iterations: Number of times that both sides are solved.
        seed: Seed of the initial factors.

    Returns:
        [users, items] float32 scores.
    """
    matrix = _interaction_matrix(users, items, shape)
    model = fit_als(matrix, factors, regularization, alpha, iterations, seed)
    return np.asarray(model.user_factors @ model.item_factors.T, np.float32)


def score_bpr(
    users: Indices,
    items: Indices,
    shape: tuple[int, int],
    factors: int = 64,
    learning_rate: float = 0.02,
    regularization: float = 0.03,
    iterations: int = 800,
    seed: int = 0,
) -> Scores:
    """Score with a matrix factorised by Bayesian personalised ranking (Rendle et al. 2009).

    Args:
        users: [interactions] user indices.
        items: [interactions] item indices.
        shape: Number of users and of items.
        factors: Dimension of the factors.
        learning_rate: Step size of the stochastic gradient.
        regularization: Weight of the factors' squared norms.
        iterations: Passes over the interactions.
        seed: Seed of the initial factors and of the sampling.

    Returns:
        [users, items] float32 scores.
    """
    model = BayesianPersonalizedRanking(
        factors=factors,
        learning_rate=learning_rate,
        regularization=regularization,
        iterations=iterations,
        # Its threads write to the factors without locks: with more than one, runs differ.
        num_threads=1,
        random_state=seed,
    )
    model.fit(scipy.sparse.csr_matrix(_interaction_matrix(users, items, shape)), show_progress=False)
    return np.asarray(model.user_factors @ model.item_factors.T, np.float32)


def _interaction_matrix(users: Indices, items: Indices, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.csr_array((np.ones(len(users), np.float32), (users, items)), shape=shape)
    # A repeated interaction counts once.
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
