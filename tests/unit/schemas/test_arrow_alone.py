import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

# With a package in the place of pandas that notes when it is imported.
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from schemas.arrow_alone import use_arrow_alone
import pyarrow as pa
use_arrow_alone()
values = pa.array(["a", None]).to_pylist()
at_first = "pandas" in sys.modules
import pandas
print(json.dumps([values, at_first, pandas.is_there]))
"""


def test_arrays_are_made_without_pandas_which_is_there_for_whoever_imports_it(tmp_path):
    (tmp_path / "pandas.py").write_text("is_there = True")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["a", None], False, True]
