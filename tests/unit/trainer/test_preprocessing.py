"""Keys of ids, without Beam."""

import pytest
import tensorflow as tf

from schemas.errors import ConfigError
from trainer.preprocessing import _encode_ids, preprocessing_fn

pytestmark = pytest.mark.unit

IDS = ["b c", "🎬", "new", "a", "other", "new", "", " a"]


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocabulary"
    path.write_text("a\n🎬\nb c\n", encoding="utf-8")
    return str(path)


def encode(ids, vocabulary):
    return tf.function(lambda: _encode_ids(tf.constant(ids), vocabulary))().numpy().tolist()


def test_id_in_the_vocabulary_has_its_line_number(vocabulary):
    keys = encode(IDS, vocabulary)
    assert [keys[0], keys[1], keys[3]] == [2, 1, 0]


def test_unseen_ids_have_keys_of_their_own_behind_the_vocabulary(vocabulary):
    keys = encode(IDS, vocabulary)
    assert keys[2] == keys[5]
    unseen = [keys[i] for i in (2, 4, 6, 7)]
    assert len(set(unseen)) == 4
    assert all(3 <= key < 3 + 2**40 for key in unseen)


def test_key_of_an_unseen_id_is_the_size_plus_its_fingerprint(vocabulary):
    # Without a vocabulary the size is 0, and the key the fingerprint alone.
    fingerprints = encode(IDS, None)
    keys = encode(IDS, vocabulary)
    assert all(0 <= value < 2**40 for value in fingerprints)
    assert [keys[i] for i in (2, 4)] == [3 + fingerprints[i] for i in (2, 4)]


def test_history_keeps_its_shape(vocabulary):
    assert encode([["a", "b c"], ["🎬", "a"]], vocabulary) == [[0, 2], [1, 0]]


def test_refuses_a_specification_that_is_none():
    with pytest.raises(ConfigError, match="unknown key 'surprise'"):
        preprocessing_fn({}, {"feature_spec": '{"name": "shop", "features": [], "surprise": 1}'})
