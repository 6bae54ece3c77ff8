"""The fingerprint follows the code and nothing else."""

import dataclasses
import importlib.metadata
import shutil

import pytest

from components.interaction_ingest.sources.registry import FORMATS
from pipeline import code_fingerprint
from pipeline.code_fingerprint import fingerprint_code
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.fixture
def tree(tmp_path):
    for package in ("schemas", "trainer", "components", "pipeline"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "logic.py").write_text("VALUE = 1\n")
    return tmp_path


def test_same_code_same_fingerprint(tree):
    (tree / "trainer" / "__pycache__").mkdir()
    before = fingerprint_code(root=tree)
    (tree / "trainer" / "__pycache__" / "logic.pyc").write_bytes(b"x")
    (tree / "notes.py").write_text("not in a package")
    assert fingerprint_code(root=tree) == before


@pytest.mark.parametrize("package", ["schemas", "trainer", "components", "pipeline"])
def test_a_changed_line_changes_it(tree, package):
    before = fingerprint_code(root=tree)
    (tree / package / "logic.py").write_text("VALUE = 2\n")
    assert fingerprint_code(root=tree) != before


def test_a_moved_file_changes_it(tree):
    before = fingerprint_code(root=tree)
    (tree / "trainer" / "logic.py").rename(tree / "trainer" / "other.py")
    assert fingerprint_code(root=tree) != before


def test_a_changed_user_tower_changes_it(tree, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_towers.py").write_text("def build(inputs): ...\n")
    monkeypatch.syspath_prepend(folder)
    before = fingerprint_code("own_towers.build", root=tree)
    assert before != fingerprint_code(root=tree)
    (folder / "own_towers.py").write_text("def build(inputs): return 1\n")
    assert fingerprint_code("own_towers.build", root=tree) != before


@pytest.fixture
def package(tmp_path_factory, monkeypatch):
    """A package whose __init__ hands the builder on from another module."""
    folder = tmp_path_factory.mktemp("own") / "own_package"
    (folder / "layers").mkdir(parents=True)
    (folder / "__init__.py").write_text("from own_package.towers import build\n")
    (folder / "towers.py").write_text("def build(inputs): ...\n")
    (folder / "layers" / "blocks.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


@pytest.mark.parametrize("file", ["__init__.py", "towers.py", "layers/blocks.py"])
@pytest.mark.parametrize("path", ["own_package.build", "own_package.towers.build"])
def test_a_change_anywhere_in_the_package_of_a_user_tower_changes_it(tree, package, path, file):
    before = fingerprint_code(path, root=tree)
    with (package / file).open("a") as stream:
        stream.write("OTHER = 1\n")
    assert fingerprint_code(path, root=tree) != before


def test_a_package_is_the_same_wherever_it_is_installed(tree, package, tmp_path_factory, monkeypatch):
    before = fingerprint_code("own_package.build", root=tree)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(package, elsewhere / "own_package")
    monkeypatch.syspath_prepend(elsewhere)
    assert fingerprint_code("own_package.build", root=tree) == before


@pytest.mark.parametrize(
    "library",
    [
        "apache-beam", "fastavro", "numpy", "pandas", "pyarrow", "tensorflow", "tensorflow-data-validation",
        "tensorflow-transform", "tf-keras", "tfx", "tfx-bsl",
    ],
)  # fmt: skip
def test_another_version_of_a_library_that_touches_the_data_changes_it(tree, monkeypatch, library):
    before = fingerprint_code(root=tree)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.0.1" if name == library else version(name)
    )
    assert fingerprint_code(root=tree) != before


def test_the_library_of_another_format_changes_it(tree, monkeypatch):
    before = fingerprint_code(root=tree)
    other = dataclasses.replace(FORMATS["csv"], libraries=("click",))
    monkeypatch.setattr(code_fingerprint, "FORMATS", {**FORMATS, "other": other})
    assert fingerprint_code(root=tree) != before


@pytest.mark.parametrize(
    "path", ["build", "no_such_module.build", "no_such_package.towers.build", "schemas.nowhere.build"]
)
def test_a_user_tower_that_is_not_there_is_refused(tree, path):
    with pytest.raises(ConfigError, match=r"model\.user_tower: .*Received: '" + path):
        fingerprint_code(path, root=tree)
