"""Finding the row of a text in a SavedModel that TensorFlow Serving loads."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import tensorflow as tf

NOT_FOUND = -1


class TextRows(tf.Module):
    """Tells which row of a column of different texts a text is.

    The texts' fingerprints are searched, sorted, and what is found is compared with the text itself. Unlike
    a look-up table it is made of variables alone, so that a text may hold a line break, and a million of
    texts load in no time.

    Args:
        texts: [rows] at least one, no two of them equal. '' is never found.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.texts = tf.Variable(np.array(texts, dtype=object), trainable=False, dtype=tf.string)
        # Two texts of one fingerprint would hide each other: hardly ever, and then another prefix is taken.
        for number in count():
            self._prefix = str(number) if number else ""
            fingerprints = self._to_fingerprints(self.texts).numpy()
            order = np.argsort(fingerprints)
            if len(np.unique(fingerprints)) == len(fingerprints):
                break
        self._fingerprints = tf.Variable(fingerprints[order], trainable=False)
        self._rows = tf.Variable(order.astype(np.int32), trainable=False)

    def find(self, texts: tf.Tensor) -> tf.Tensor:
        """Find the rows of some texts.

        Args:
            texts: Strings of any shape.

        Returns:
            int32 of that shape: the row of each, -1 for '' and for a text that is not there.
        """
        flat = tf.reshape(texts, [-1])
        places = tf.searchsorted(self._fingerprints, self._to_fingerprints(flat))
        rows = tf.gather(self._rows, tf.minimum(places, self._rows.shape[0] - 1))
        is_it = (tf.gather(self.texts, rows) == flat) & (flat != "")
        return tf.reshape(tf.where(is_it, rows, NOT_FOUND), tf.shape(texts))

    def _to_fingerprints(self, texts: tf.Tensor) -> tf.Tensor:
        """Hash [n] texts to [n] int64."""
        salted = tf.strings.join([self._prefix, texts]) if self._prefix else texts
        return tf.bitcast(tf.fingerprint(salted), tf.int64)
