"""The fingerprint follows the code and nothing else."""

import pytest

from pipeline.code_fingerprint import fingerprint_code

pytestmark = pytest.mark.unit


@pytest.fixture
def tree(tmp_path):
    for package in ("schemas", "trainer", "components", "pipeline"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "logic.py").write_text("VALUE = 1\n")
    return tmp_path


def test_same_code_same_fingerprint(tree):
    (tree / "trainer" / "__pycache__").mkdir()
    before = fingerprint_code(tree)
    (tree / "trainer" / "__pycache__" / "logic.pyc").write_bytes(b"x")
    (tree / "notes.py").write_text("not in a package")
    assert fingerprint_code(tree) == before


@pytest.mark.parametrize("package", ["schemas", "trainer", "components", "pipeline"])
def test_a_changed_line_changes_it(tree, package):
    before = fingerprint_code(tree)
    (tree / package / "logic.py").write_text("VALUE = 2\n")
    assert fingerprint_code(tree) != before


def test_a_moved_file_changes_it(tree):
    before = fingerprint_code(tree)
    (tree / "trainer" / "logic.py").rename(tree / "trainer" / "other.py")
    assert fingerprint_code(tree) != before
