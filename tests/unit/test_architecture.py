"""The one direction of dependency, and names that nothing else in the environment may have."""

import ast
import functools
import graphlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
# schemas  <-  trainer, components  <-  pipeline
MAY_IMPORT = {
    "schemas": {"schemas"},
    "trainer": {"schemas", "trainer"},
    "components": {"schemas", "components"},
    "pipeline": {"schemas", "trainer", "components", "pipeline"},
}
# What takes seconds to import.
HEAVY = {
    "apache_beam", "keras", "kfp", "ml_metadata", "tensorflow", "tensorflow_data_validation",
    "tensorflow_model_analysis", "tensorflow_transform", "tf_keras", "tfx", "tfx_bsl",
}  # fmt: skip


def list_modules() -> dict[str, Path]:
    """Our modules by dotted name."""
    modules = {}
    for package in MAY_IMPORT:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return modules


MODULES = list_modules()


def walk_nodes(tree: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if inside_functions or not (is_function or is_for_types):
            yield node
            yield from walk_nodes(node, inside_functions)


def find_imports(source: str, module: str, is_package: bool, inside_functions: bool) -> set[str]:
    """List what a module imports; of `from a import b` both `a` and `a.b`, since b may be a module."""
    found = set()
    for node in walk_nodes(ast.parse(source), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                kept = len(parents) - node.level + is_package
                base = ".".join([*parents[:kept], *filter(None, [base])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def imports_of(module: str, inside_functions: bool = True) -> frozenset[str]:
    file = MODULES[module]
    source = file.read_text(encoding="utf-8")
    return frozenset(find_imports(source, module, file.name == "__init__.py", inside_functions))


@functools.cache
def claimed_names() -> dict[str, list[str]]:
    """The distributions that bring a package, by its name."""
    return dict(importlib.metadata.packages_distributions())


def first_two(name: str) -> str:
    return ".".join(name.split(".")[:2])


def roots_of(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def heavy_imports_at_start(module: str) -> dict[str, set[str]]:
    """What importing a module imports of TensorFlow and the like, by the module of ours that does it."""
    heavy = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current in seen or current not in MODULES:
            continue
        seen.add(current)
        names = imports_of(current, inside_functions=False)
        if roots_of(names) & HEAVY:
            heavy[current] = roots_of(names) & HEAVY
        waiting += names
        waiting += [current.rsplit(".", depth)[0] for depth in range(1, current.count(".") + 1)]
    return heavy


def test_the_walker_sees_every_kind_of_import() -> None:
    source = (
        "import a.b, c as d\n"
        "from e import f\n"
        "from . import g\n"
        "from ..h import i\n"
        "if TYPE_CHECKING:\n    import j\n"
        "class K:\n    import l\n    def m(self):\n        import n\n"
        "async def o():\n    from p import q\n"
        "try:\n    import r\nexcept ImportError:\n    import s\n"
    )
    everywhere = find_imports(source, "x.y.z", is_package=False, inside_functions=True)
    at_start = find_imports(source, "x.y.z", is_package=False, inside_functions=False)
    expected = {"a.b", "c", "e", "e.f", "x.y", "x.y.g", "x.h", "x.h.i", "l", "r", "s"}
    assert at_start == expected
    assert everywhere == expected | {"j", "n", "p", "p.q"}
    assert "x.y.z.g" in find_imports("from . import g", "x.y.z", is_package=True, inside_functions=True)


def test_the_walker_finds_our_modules() -> None:
    assert {"schemas.features", "trainer.config", "components", "pipeline.config"} <= set(MODULES)
    assert set(heavy_imports_at_start("components.artifacts")) == {"components.artifacts"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    ours = roots_of(imports_of(module)) & {*MAY_IMPORT, "tests", "benchmarks"}
    assert ours <= MAY_IMPORT[module.split(".")[0]]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_folders_do_not_import_each_other_in_a_circle(package: str) -> None:
    imports: dict[str, set[str]] = {
        first_two(m): set() for m in MODULES if m.startswith(f"{package}.") and m.count(".") > 1
    }
    for module in MODULES:
        if (folder := first_two(module)) in imports:
            imports[folder] |= {first_two(name) for name in imports_of(module)} - {folder}
    graph = {folder: names & set(imports) for folder, names in imports.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_in_the_trainer_run_fn_alone_knows_tfx() -> None:
    knows = {m for m in MODULES if m.startswith("trainer") and "tfx" in roots_of(imports_of(m))}
    assert knows <= {"trainer.run_fn"}


@pytest.mark.parametrize("module", sorted(m for m in MODULES if re.fullmatch(r"components\.\w+\.logic", m)))
def test_logic_is_free_of_tfx(module: str) -> None:
    assert "tfx" not in roots_of(imports_of(module))
    assert not any("tfx" in names for names in heavy_imports_at_start(module).values())


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.split(".")[0] == "schemas"))
def test_schemas_import_without_tensorflow(module: str) -> None:
    assert heavy_imports_at_start(module) == {}


QUICK = [
    "pipeline.cli",
    "pipeline.comparison_table",
    "pipeline.config",
    "pipeline.releases",
    "pipeline.run_table",
    "components.tower_pusher.logic",
    "schemas.release",
    "schemas.storage",
]


@pytest.mark.parametrize("module", QUICK)
def test_what_help_and_config_errors_need_imports_nothing_heavy(module: str) -> None:
    assert heavy_imports_at_start(module) == {}


def test_it_imports_nothing_heavy_indeed() -> None:
    code = f"import sys, {', '.join(QUICK)}; print(*sorted(m for m in sys.modules if m in {HEAVY!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_nothing_in_the_environment_claims_our_names(name: str) -> None:
    claims = claimed_names().get(name, [])
    assert {claim.lower().replace("_", "-") for claim in claims} <= {"dssm-pipeline"}


def test_our_wheel_does_not_bring_the_tests() -> None:
    # A keyring plug-in in the lock does bring a package of this name; so `tests` is never imported.
    claims = claimed_names()
    for name in ("tests", "benchmarks", "docs"):
        assert "dssm-pipeline" not in {claim.lower().replace("_", "-") for claim in claims.get(name, [])}
    for file in ROOT.joinpath("tests").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        assert "tests" not in roots_of(find_imports(source, "t", is_package=False, inside_functions=True)), (
            file
        )


@pytest.mark.parametrize("lock", sorted(file.name for file in (ROOT / "environment").glob("*.lock")))
def test_locks_are_hashed_and_name_no_server(lock: str) -> None:
    text = (ROOT / "environment" / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(--index-url|--extra-index-url|--find-links|-i|-f)\b", text, re.MULTILINE)
    # A requirement starts a line; its hashes and where it comes from are indented below it.
    requirements = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(requirements) > 1
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def test_there_are_lock_files() -> None:
    names = {file.name for file in (ROOT / "environment").glob("*.lock")}
    assert names >= {"requirements.lock", "requirements-dev.lock", "tools.lock"}
