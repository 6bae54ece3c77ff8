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
lite_later = tensorflow.lite.content
distribute = tensorflow.distribute.content
import tensorflow.distribute.sources.deeper
report = dict(found=tensorflow.found, at_first=at_first, in_the_end=tensorflow.executed)
report |= dict(lite=[content, lite_later], distribute=[distribute, tensorflow.distribute.content])
print(json.dumps(report | dict(collects=gc.isenabled())))
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
# One of its modules means the folder of the namespace's name, and so has to find it while the namespace is
# executed.
DISTRIBUTE = NAMESPACE + "import tensorflow.distribute.sources.deeper as deeper"
NAMESPACES = ("compat", "distribute", "errors", "lite", "saved_model")


@pytest.fixture
def reports(tmp_path):
    """Run the program, and give what it prints."""
    empty = (
        "googleapiclient h5py_before keras/__init__ keras/src/__init__ keras/src/optimizers needed "
        "tensorflow/_api/__init__ tensorflow/_api/v2/__init__ tensorflow/lite/__init__ "
        "tensorflow/lite/sources/__init__ tensorflow/lite/sources/deeper tensorflow/distribute/__init__ "
        "tensorflow/distribute/sources/__init__ tensorflow/distribute/sources/deeper"
    )
    files = dict.fromkeys(empty.split(), "")
    files |= {f"tensorflow/_api/v2/{name}": NAMESPACE for name in NAMESPACES}
    files |= {"tensorflow/__init__": TENSORFLOW, "tensorflow/_api/v2/distribute": DISTRIBUTE}
    for name, content in files.items():
        (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(content)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tensorflow_finds_what_it_needs_and_what_is_there_already(reports):
    assert reports["found"] == ["h5py", "needed"]
    assert reports["collects"]


def test_namespaces_are_executed_when_they_are_first_used_and_stay_what_they_are(reports):
    assert sorted(reports["at_first"]) == ["errors", "saved_model"]
    assert reports["in_the_end"] == [*reports["at_first"], "lite", "distribute"]
    assert reports["lite"] == ["tensorflow._api.v2.lite"] * 2
    assert reports["distribute"] == ["tensorflow._api.v2.distribute"] * 2
