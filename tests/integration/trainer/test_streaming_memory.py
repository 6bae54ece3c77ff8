import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.integration


def test_peak_memory_is_that_of_a_block_and_not_of_all_logits(tmp_path):
    """8,192 rows: their logits take 256 MiB, those of a block 2 MiB. A process's peak only ever grows."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import resource
            import numpy as np
            import tensorflow as tf
            from trainer.config import LossConfig
            from trainer.losses import BatchKeys, Candidates, candidate_softmax

            def growth_mib(rows):
                generator = np.random.default_rng(0)
                vectors = [
                    tf.math.l2_normalize(tf.constant(generator.normal(size=(rows, 64)), tf.float32), axis=1)
                    for _ in range(2)
                ]
                keys = BatchKeys(*(tf.constant(generator.integers(0, 4000, shape)) for shape in (
                    rows, rows, (rows, 20)
                )))

                @tf.function
                def step():
                    with tf.GradientTape() as tape:
                        tape.watch(vectors)
                        candidates = Candidates(vectors[1], keys.items, keys.users, tf.zeros([rows]))
                        config = LossConfig(maximum_logits_mib=2.0)
                        result = candidate_softmax(vectors[0], candidates, keys, config)
                    return tape.gradient(result.loss_sum, vectors)

                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                for _ in range(2):
                    step()
                return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

            growth_mib(64)
            print(growth_mib(8192))
            """
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    process = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.splitlines()[-1]) < 128
