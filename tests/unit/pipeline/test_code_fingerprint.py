"""The fingerprint follows the code and nothing else."""

import importlib.metadata

import pytest

from pipeline.code_fingerprint import fingerprint_code
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit

PATHS_INTO_ONE_PACKAGE = ("own_package.build", "own_package.towers.wide.build")


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


def test_what_a_user_towers_package_hands_on_counts(tree, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("package")
    package = folder / "own_package"
    (package / "towers").mkdir(parents=True)
    (package / "__init__.py").write_text("from own_package.towers.wide import build\n")
    (package / "towers" / "__init__.py").write_text("")
    (package / "towers" / "wide.py").write_text("def build(inputs): ...\n")
    monkeypatch.syspath_prepend(folder)
    before = {path: fingerprint_code(path, root=tree) for path in PATHS_INTO_ONE_PACKAGE}
    (package / "towers" / "wide.py").write_text("def build(inputs): return 1\n")
    for path, fingerprint in before.items():
        assert fingerprint_code(path, root=tree) != fingerprint


def test_the_modules_beside_one_in_a_namespace_package_count(tree, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("namespace")
    (folder / "own_namespace").mkdir()
    (folder / "own_namespace" / "towers.py").write_text("from own_namespace.layers import build\n")
    (folder / "own_namespace" / "layers.py").write_text("def build(inputs): ...\n")
    monkeypatch.syspath_prepend(folder)
    before = fingerprint_code("own_namespace.towers.build", root=tree)
    (folder / "own_namespace" / "layers.py").write_text("def build(inputs): return 1\n")
    assert fingerprint_code("own_namespace.towers.build", root=tree) != before


@pytest.mark.parametrize("library", ["apache-beam", "tfx-bsl", "pyarrow", "tensorflow"])
def test_another_version_of_a_library_changes_it(tree, monkeypatch, library):
    before = fingerprint_code(root=tree)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.0" if name == library else version(name)
    )
    assert fingerprint_code(root=tree) != before


@pytest.mark.parametrize("path", ["build", "no_such_module.build", "no_such_package.towers.build"])
def test_a_user_tower_that_is_not_there_is_refused(tree, path):
    with pytest.raises(ConfigError, match=r"model\.user_tower: .*Received: '" + path):
        fingerprint_code(path, root=tree)
