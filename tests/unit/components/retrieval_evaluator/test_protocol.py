"""A log with repeats, on which new and all candidates give other answers, worked out by hand."""

import numpy as np
import pyarrow as pa
import pytest

from components.retrieval_evaluator.data import read_evaluation_data
from schemas.features import FeatureSpec
from schemas.ranking import compute_metrics, rank_by_common_scores, rank_in_blocks
from schemas.sequences import FILE_NAME, sequences_schema, write_sequences
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

IDS = pa.array(["a", "b", "c", "d"])
# User, train items, held-out items. The first one buys again, the third one does and finds something new.
LOG = [("u1", "ab", "a"), ("u2", "b", "c"), ("u3", "ca", "cd")]


@pytest.fixture(params=["new", "all"])
def data(request, tmp_path):
    encoding = {"encoding": {"kind": "vocabulary"}}
    spec = parse(
        FeatureSpec,
        {
            "name": "shop",
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", **encoding},
                {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", **encoding},
            ],
        },
        "test",
    )
    rows = [
        {
            "user": user,
            "item": list(train + held_out),
            "timestamp": list(range(len(train + held_out))),
            "train_end": len(train),
            "validation_end": len(train),
            "eval_end": len(train + held_out),
        }
        for user, train, held_out in LOG
    ]
    table = pa.Table.from_pylist(rows, sequences_schema(spec, has_weights=False))
    write_sequences(table, tmp_path / FILE_NAME.format(number=0, files=1))
    return request.param, read_evaluation_data(tmp_path, IDS, spec, ["user"], request.param)


def mean_recall(ranks, targets):
    found = compute_metrics(ranks, targets, [1, 2])
    return [found["recall_at_1"].mean(), found["recall_at_2"].mean()]


def test_score_one_if_already_bought(data):
    candidates, data = data
    bought = np.zeros((data.targets.query_count, len(IDS)), np.float32)
    bought[data.seen.owners, data.seen.items] = 1.0
    ranking = rank_in_blocks(lambda block: bought[block], data.targets, data.masked, len(IDS), k=2)
    expected = {
        # u1 is no query. u2's c ties with a and d. u3's d ties with b.
        "new": [(1 / 3 + 1 / 2) / 2, (2 / 3 + 1) / 2],
        # u1's a ties with b. u2's c ties with a and d behind b. u3's c ties with a, d is behind them with b.
        "all": [(1 / 2 + 0 + 1 / 2) / 3, (1 + 1 / 3 + 1 / 2) / 3],
    }
    assert mean_recall(ranking.ranks, data.targets) == pytest.approx(expected[candidates])


def test_popularity(data):
    candidates, data = data
    assert data.popularity.tolist() == [2, 2, 1, 0]
    ranks = rank_by_common_scores(data.popularity, data.targets, data.masked)
    expected = {
        # u2: a, then c. u3: b, then d.
        "new": [0, 1],
        # u1: a or b. u2: c is third. u3: c is third, d fourth.
        "all": [(1 / 2) / 3, 1 / 3],
    }
    assert mean_recall(ranks, data.targets) == pytest.approx(expected[candidates])
