import numpy as np
import pytest

pytestmark = pytest.mark.unit

TEXTS = ["10", "a\nb", " lead", "🎬", "a\r", "x" * 300, "1"]


def test_every_text_is_found_and_no_other():
    from components.candidate_indexer.text_rows import TextRows

    rows = TextRows(TEXTS)
    np.testing.assert_array_equal(rows.find(TEXTS), np.arange(len(TEXTS)))
    asked = [["", "a", "🎬"], ["a\n", "lead", "01"]]
    np.testing.assert_array_equal(rows.find(asked), [[-1, -1, 3], [-1, -1, -1]])
    assert rows.find(np.zeros((2, 0), object)).shape == (2, 0)


def test_many_texts():
    from components.candidate_indexer.text_rows import TextRows

    texts = [f"item {number}" for number in range(5000)]
    order = np.random.default_rng(0).permutation(10_000)
    rows = TextRows(texts).find([f"item {number}" for number in order])
    np.testing.assert_array_equal(rows, np.where(order < 5000, order, -1))


def test_the_empty_text_is_never_found():
    from components.candidate_indexer.text_rows import TextRows

    np.testing.assert_array_equal(TextRows(["", "a"]).find(["", "a"]), [-1, 1])


def test_texts_of_one_fingerprint_get_another(monkeypatch):
    import tensorflow as tf

    from components.candidate_indexer.text_rows import TextRows

    def fingerprint(texts):
        """The texts' first byte, eight times: "ab" and "ac" collide until a prefix is put before them."""
        firsts = [text[:1] if text[:1] == b"a" else text[-1:] for text in texts.numpy()]
        return tf.io.decode_raw([first * 8 for first in firsts], tf.uint8)

    monkeypatch.setattr(tf, "fingerprint", fingerprint)
    rows = TextRows(["ab", "ac", "d"])
    np.testing.assert_array_equal(rows.find(["d", "ac", "ab", "xc"]), [2, 1, 0, -1])
