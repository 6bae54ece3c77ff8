"""The approximate index and the towers in one process, as a server has them."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

BESIDE_TENSORFLOW = """
import sys, threading
import numpy as np
{first}
from components.ann_index.ladder import Build, build_index
from components.ann_index.search import search_index

embeddings = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
builds = [(Build("hnsw", {{"M": 8, "efConstruction": 40}}), 32), (Build("ivf_sq8", {{"nlist": 32}}), 4)]
made = [(build_index(build, embeddings, 0), build, effort) for build, effort in builds]
import tensorflow as tf

weights = tf.Variable(tf.random.normal([32, 32]))
embed = tf.function(lambda rows: tf.nn.l2_normalize(rows @ weights, axis=1))


def ask():
    for number in range(10):
        queries = embed(tf.constant(embeddings[number : number + 64])).numpy()
        for index, build, effort in made:
            search_index(index, build, effort, embeddings, queries, 10)


threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done", faiss_threads())
"""


@pytest.mark.parametrize("first", ["faiss", "tensorflow"])
def test_faiss_and_tensorflow_live_in_one_process(first):
    # Two runtimes of threads: whichever is loaded first, both are used from several threads at once.
    head = f"import {first}\ndef faiss_threads():\n    import faiss\n    return faiss.omp_get_max_threads()\n"
    finished = subprocess.run(
        [sys.executable, "-c", BESIDE_TENSORFLOW.format(first=head)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["done", str(len(os.sched_getaffinity(0)))]
