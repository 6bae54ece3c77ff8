"""The examples of docs/serving.md that need no server do what they say."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.serving.app import create_app
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.releases import ReleaseWatcher
from pipeline.serving.service import Service

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Releases 1 to 3 of two items, whose embeddings say which release they are of."""
    serving = tmp_path / "serving" / "movielens_100k"
    for version in (1, 2, 3):
        index, release = serving / "index" / str(version), serving / "releases" / str(version)
        index.mkdir(parents=True)
        release.mkdir(parents=True)
        (release / "manifest.json").write_text("{}")
        np.save(index / "embeddings.npy", np.array([[version, 0.5], [0.25, version]], np.float32))
        catalogue = pa.table({"item_id": ["a", "b"], "title": ["A film", "Another"]})
        pq.write_table(catalogue, index / "catalogue.parquet")
    # One that is still being pushed is none.
    (serving / "releases" / "4").mkdir()
    return tmp_path


@pytest.fixture
def export(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], pa.Table]:
    """Run the example, and read what it wrote."""
    [example] = [text for text in EXAMPLES if "items.parquet" in text]
    monkeypatch.chdir(folder)

    def run() -> pa.Table:
        exec(compile(example, "docs/serving.md", "exec"), {})
        return pq.read_table("items.parquet")

    return run


def test_the_export_has_a_vector_for_each_item_of_the_newest_release(export):
    items = export()

    assert items.to_pylist() == [
        {"item_id": "a", "title": "A film", "vector": [3.0, 0.5], "release": 3},
        {"item_id": "b", "title": "Another", "vector": [0.25, 3.0], "release": 3},
    ]


@pytest.mark.parametrize(("over", "expected"), [(3, 1), (2, 3)], ids=["rolled back", "a newer one took over"])
def test_the_export_follows_a_rollback(folder, export, over, expected):
    current = folder / "serving" / "movielens_100k" / "releases" / "current.json"
    current.write_text(json.dumps({"version": 1, "over": over, "since": "", "reason": ""}))

    assert set(export()["release"].to_pylist()) == {expected}


def test_every_file_and_section_that_is_linked_is_there():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        else:
            assert (ROOT / "docs" / target).exists(), target


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What the server says of its paths."""
    metrics = Metrics()
    watcher = ReleaseWatcher("never looked at", lambda version: pytest.fail(f"{version}"), metrics, 1)
    with ThreadPoolExecutor(1) as pool:
        return create_app(Service(watcher, pool, Limits(), metrics)).openapi()["paths"]


def find_row(route: str) -> str:
    """The cell of the table of routes that says what a route takes."""
    [row] = [
        line for line in TEXT.splitlines() if line.startswith("| ") and f"`{route}`" in line.split("|")[1]
    ]
    return row.split("|")[2]


def test_the_table_says_what_recommend_takes(described):
    operations = described["/recommend"]
    body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    for route, names in (
        ("POST /recommend", body),
        ("GET /recommend", [parameter["name"] for parameter in operations["get"]["parameters"]]),
    ):
        assert set(re.findall(r"`([a-z]+)`", find_row(route))) == set(names)


def test_every_error_that_the_server_describes_is_listed(described):
    [listed] = re.findall(r"^An error is .*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    statuses = set(described["/recommend"]["post"]["responses"]) - {"200"}
    # Those of paths and methods that there are not, and of failures, belong to no route.
    assert set(re.findall(r"\b[45]\d\d\b", listed)) == statuses | {"405", "500"}


def test_examples_parse():
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        compile(example, "docs/serving.md", "exec")
