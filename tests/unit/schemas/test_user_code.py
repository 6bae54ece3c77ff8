import hashlib
import importlib.machinery

import pytest

from schemas.errors import ConfigError
from schemas.user_code import hash_user_code

pytestmark = pytest.mark.unit

COMPILED = importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a module in Python and one that is compiled."""
    folder = tmp_path / "user_code_package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "towers.py").write_text("def build(): ...\n")
    (folder / "inner" / f"fast{COMPILED}").write_bytes(b"machine code")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def digest_of(*files):
    lines = (f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("path", ["build", "towers.build", "inner.build", "inner.fast.build"])
def test_every_module_of_the_package_counts(package, path):
    assert hash_user_code("k", f"user_code_package.{path}") == digest_of(
        ("__init__.py", b""), (f"inner/fast{COMPILED}", b"machine code"), ("towers.py", b"def build(): ...\n")
    )


@pytest.mark.parametrize("ending", [".py", COMPILED])
def test_a_module_in_no_package_counts_alone(tmp_path, monkeypatch, ending):
    (tmp_path / f"user_code_module{ending}").write_bytes(b"x = 1")
    (tmp_path / "other.py").write_bytes(b"y = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert hash_user_code("k", "user_code_module.build") == digest_of((f"user_code_module{ending}", b"x = 1"))


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("__main__.build", "__main__"),
        ("build", ""),
        ("user_code_package.slow.build", "user_code_package.slow"),
        (".towers.build", ".towers"),
    ],
)
def test_what_no_process_can_import_is_refused(package, path, module):
    message = (
        rf"^model\.tower: expected the dotted .* Received: '{path}', and Python finds no module '{module}'"
    )
    with pytest.raises(ConfigError, match=message):
        hash_user_code("model.tower", path)
