import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

# `tensorflow` is a package of the folder that notes what it can import, and which of its namespaces are
# executed.
PROGRAM = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
import h5py_before as h5py
sys.modules["h5py"] = h5py
from schemas.tensorflow_alone import import_tensorflow_alone
import_tensorflow_alone()
import_tensorflow_alone()
import tensorflow
at_first = [*tensorflow.executed]
content = tensorflow.lite.content
import tensorflow.lite.sources
import tensorflow.lite.sources.deeper
executed, later = tensorflow.executed, tensorflow.lite.content
collection = [gc.isenabled(), gc.get_freeze_count()]
print(json.dumps([tensorflow.found, at_first, content, executed, later, *collection]))
import keras.src.optimizers
import googleapiclient
"""
TENSORFLOW = """
executed = []
from tensorflow._api.v2 import compat, distribute, errors, lite, saved_model
found = []
for name in ("keras.src.optimizers", "googleapiclient", "h5py", "needed"):
    try:
        __import__(name)
    except ImportError:
        continue
    found.append(name)
"""


NAMESPACE = """
import tensorflow
tensorflow.executed.append(__name__.rpartition(".")[2])
content = __name__
"""
NAMESPACES = ("compat", "distribute", "errors", "lite", "saved_model")


@pytest.fixture
def reports(tmp_path):
    """Run the program, and give what it prints."""
    empty = (
        "googleapiclient h5py_before keras/__init__ keras/src/__init__ keras/src/optimizers needed "
        "tensorflow/_api/__init__ tensorflow/_api/v2/__init__ tensorflow/lite/__init__ "
        "tensorflow/lite/sources/__init__ tensorflow/lite/sources/deeper"
    )
    files = dict.fromkeys(empty.split(), "")
    files |= {f"tensorflow/_api/v2/{name}": NAMESPACE for name in NAMESPACES}
    files["tensorflow/__init__"] = TENSORFLOW
    for name, content in files.items():
        (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(content)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tensorflow_finds_what_it_needs_and_what_is_there_already(reports):
    found, *_ = reports
    assert found == ["h5py", "needed"]


def test_namespaces_are_executed_when_they_are_first_used_and_stay_what_they_are(reports):
    _, at_first, content, in_the_end, content_in_the_end, *_ = reports
    assert sorted(at_first) == ["distribute", "errors", "saved_model"]
    assert in_the_end == [*at_first, "lite"]
    assert content == content_in_the_end == "tensorflow._api.v2.lite"


def test_garbage_is_collected_again_after_the_import(reports):
    assert reports[-2]


def test_what_is_imported_is_not_looked_at_for_garbage(reports):
    assert reports[-1] > 0
