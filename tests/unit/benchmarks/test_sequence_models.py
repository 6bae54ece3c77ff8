import importlib
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.unit

# Answers as benchmarks/sequence_program.py does, and counts how often it was asked.
PROGRAM = f"""#!{sys.executable}
import argparse, json, numpy
parser = argparse.ArgumentParser()
parser.add_argument("--lists")
for name in ("task", "json"):
    parser.add_argument("--" + name, required=True)
arguments, _ = parser.parse_known_args()
open(arguments.json + ".calls", "a").write("x")
with numpy.load(arguments.task) as task:
    names = sorted(task)
if arguments.lists:
    assert "target_items" not in names
    numpy.save(arguments.lists, numpy.array([[4, 3, 5], [-1, -1, -1]], numpy.int32))
    answer = {{"seconds": 2.0}}
else:
    assert "target_items" in names
    answer = {{"epochs": 7, "limited": False}}
open(arguments.json, "w").write(json.dumps(answer))
"""


@pytest.fixture
def models(benchmarks, tmp_path):
    python = tmp_path / "python"
    python.write_text(PROGRAM, encoding="utf-8")
    python.chmod(0o755)
    module = importlib.import_module("sequence_models")
    return module.SequenceModels(python, tmp_path, threads=1, most_seconds=60.0)


@pytest.fixture
def tasks(benchmarks):
    """User 0: 0 1 2 | 3; user 1: 4 | 1."""
    held_out = importlib.import_module("held_out")
    sequences = held_out.SplitSequences(
        offsets=np.array([0, 4, 6]),
        items=np.array([0, 1, 2, 3, 4, 1], np.int32),
        times=np.zeros(6, np.int64),
        train_ends=np.array([3, 5]),
        known_ends=np.array([3, 5]),
        eval_ends=np.array([4, 6]),
        item_count=6,
    )
    return held_out.make_tasks(sequences, "new", k=3)


def test_lists_of_the_program_become_places_and_who_has_none_gets_the_popular_items(models, tasks):
    ranks, seconds = models.rank("sasrec", tasks[1], epochs=7, seed=1)
    # Item 3 is second in the list of user 0; of user 1, items 0 to 2 are popular alike.
    np.testing.assert_array_equal(ranks.better, [1, 0])
    np.testing.assert_array_equal(ranks.tied, [0, 2])
    assert seconds == 2.0


def test_the_choice_sees_the_targets_of_validation_and_is_made_once(models, tasks, tmp_path):
    chosen = [models.choose("gsasrec", tasks[0], seed=1) for _ in range(2)]
    assert [choice["epochs"] for choice in chosen] == [7, 7]
    assert [calls.read_text() for calls in tmp_path.glob("*.calls")] == ["x"]


def test_without_an_environment_the_reason_names_the_command_that_makes_it(models, tmp_path):
    assert models.why_not() is None
    absent = type(models)(tmp_path / "absent", tmp_path, threads=1, most_seconds=60.0)
    assert "make sequence-models" in absent.why_not()
