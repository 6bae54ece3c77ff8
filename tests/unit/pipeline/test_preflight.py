from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import PipelineConfig
from pipeline.preflight import find_problems, find_problems_here
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

VOCABULARY = {"kind": "vocabulary"}
SCHEMA = {
    "name": "shop",
    "tables": {"items": {"display": ["title"]}},
    "features": [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
        {"name": "price", "dtype": "float", "tower": "item", "encoding": {"kind": "z_score"}},
    ],
}
LOG = {"user": ["a", "a", "b"], "item": [1, 2, 2], "timestamp": [1, 2, 3]}
ITEMS = {"item": [1, 2], "price": [1.0, 2.0], "title": ["One", "Two"]}


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """The configuration of a run on two good tables, for a batch of two rows."""
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(LOG), tmp_path / "data" / "interactions.parquet")
    pq.write_table(pa.table(ITEMS), tmp_path / "data" / "items.parquet")
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    return {
        "run": {"name": "shop", "directory": str(tmp_path / "runs")},
        "data": {"schema": str(tmp_path / "schema.yaml"), "directory": str(tmp_path / "data")},
        "serving": {"directory": str(tmp_path / "serving")},
        "training": {"per_replica_batch": 2},
    }


def find(content: dict[str, Any]) -> list[str]:
    config = parse(PipelineConfig, content, "test")
    return find_problems(config, config.load_features())


def test_a_column_to_show_and_a_batch_are_checked_with_the_tables(content: dict[str, Any]) -> None:
    assert find(content) == []
    [found] = find(content | {"training": {"per_replica_batch": 2, "replicas": 2}})
    assert "4 rows in a batch of all replicas, and no more than 2 train rows" in found
    items = {name: values for name, values in ITEMS.items() if name != "title"}
    pq.write_table(
        pa.table(items | {"titel": ["", ""]}), Path(content["data"]["directory"]) / "items.parquet"
    )
    [found] = find(content)
    assert "tables.items.display: " in found
    assert "Did you mean 'titel'?" in found


def test_a_run_ends_with_every_problem_before_anything_is_loaded(
    content: dict[str, Any], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"user": ["a"], "time": [1]}), tmp_path / "data" / "interactions.parquet")
    pq.write_table(pa.table({"item": [1, 1], "price": [None, 1.0]}), tmp_path / "data" / "items.parquet")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(main, ["run", "--config", str(tmp_path / "run.yaml")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: 4 problems would stop this run:\n  - items.parquet: ")
    for part in ("'item' must be unique", "'price' (1)", "no column 'item'", "no column 'timestamp'"):
        assert part in result.output
    assert "Loading TFX" not in result.output
    assert not (tmp_path / "runs" / "logs").exists()


def test_what_has_no_default_is_given_one_where_metadata_may_be_missing(content: dict[str, Any]) -> None:
    def prices(ingest: dict[str, Any]) -> tuple[object, dict[str, Any]]:
        config = parse(PipelineConfig, content | {"ingest": ingest}, "test")
        return config.load_features().features[2].default, config.choose_defaults()

    assert prices({"missing_metadata": "drop"}) == (None, {})
    assert prices({"missing_metadata": "default"}) == (0.0, {"price": 0.0})


def test_whoever_compiles_is_told_of_tables_here(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data" / "items.parquet").unlink()
    for directory, number in ((tmp_path / "data", 1), (tmp_path / "nowhere", 0), ("s3://shop/data", 0)):
        content["data"]["directory"] = str(directory)
        config = parse(PipelineConfig, content, "test")
        assert len(find_problems_here(config, config.load_features())) == number
