import json

import numpy as np
import pytest

from pipeline.export.json_text import split_texts, to_json, to_vector_texts

pytestmark = pytest.mark.unit


def test_vectors_keep_every_bit_in_few_digits():
    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    vectors[0] = [0.1, 1, -0.0, 1e-7, 1.5e-12, 123456792, np.finfo(np.float32).tiny]
    texts = to_vector_texts(vectors)
    assert np.array_equal(np.array([json.loads(text) for text in texts], np.float32), vectors)
    assert texts[0] == "[0.1,1,-0,1e-7,1.5e-12,123456790,1.1754944e-38]"


def test_json_is_compact_and_refuses_what_is_none():
    assert to_json({"title": 'a "ü"', "genres": []}) == '{"title":"a \\"ü\\"","genres":[]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


def test_texts_are_put_together_by_number_and_size():
    assert list(split_texts(["aa", "b", "c", "dd"], 2, 100)) == [["aa", "b"], ["c", "dd"]]
    # The letter takes two bytes.
    assert list(split_texts(["ü", "ü", "b", "ccccc", "d"], 9, 3)) == [["ü"], ["ü", "b"], ["ccccc"], ["d"]]
    assert list(split_texts([], 2, 3)) == []
