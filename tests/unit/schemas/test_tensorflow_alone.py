import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

# `tensorflow` is a module of the folder that notes what it can import.
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import h5py_before as h5py
sys.modules["h5py"] = h5py
from schemas.tensorflow_alone import import_tensorflow_alone
import_tensorflow_alone()
import_tensorflow_alone()
import tensorflow
print(json.dumps(tensorflow.found))
import keras.src.optimizers
import googleapiclient
"""
TENSORFLOW = """
found = []
for name in ("keras.src.optimizers", "googleapiclient", "h5py", "needed"):
    try:
        __import__(name)
    except ImportError:
        continue
    found.append(name)
"""


def test_tensorflow_finds_what_it_needs_and_what_is_there_already(tmp_path):
    for name in ("keras/src/optimizers", "keras/src/__init__", "keras/__init__", "googleapiclient", "needed"):
        (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "h5py_before.py").write_text("")
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["h5py", "needed"]
