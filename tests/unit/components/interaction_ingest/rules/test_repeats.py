import numpy as np
import pytest

from components.interaction_ingest.rules.repeats import once_per_split
from components.interaction_ingest.splits import EVAL, SKIPPED, TRAIN, VALIDATION

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("last", "expected"), [(True, "bacabaaa"), (False, "abcabaaa")])
def test_a_pair_is_kept_once_in_each_split(last, expected):
    #         user 0: train a b a c, validation a b, eval a, skipped a a      user 1: train a
    items = np.array([0, 1, 0, 2, 0, 1, 0, 0, 0, 0])
    users = np.array([0] * 9 + [1])
    splits = np.array([TRAIN] * 4 + [VALIDATION] * 2 + [EVAL] + [SKIPPED] * 2 + [TRAIN], np.int8)
    keep = once_per_split(users, items, splits, last)
    assert "".join("abc"[item] for item in items[keep]) == expected + "a"


def test_nothing_is_nothing():
    assert once_per_split(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.int8), True).shape == (0,)
