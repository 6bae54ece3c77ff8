"""What is refused before a local run does anything."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.local import run_locally
from schemas.errors import ConfigError

pytestmark = pytest.mark.integration


def test_a_misspelt_column_to_show_is_refused_before_any_step(tmp_path):
    (tmp_path / "shop.yaml").write_text(
        "name: shop\n"
        "tables: {items: {display: [titel]}}\n"
        "features:\n"
        "  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}\n"
        "  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}\n"
    )
    pq.write_table(pa.table({"item": ["a"], "title": ["A"]}), tmp_path / "items.parquet")
    settings = {
        "data.schema": tmp_path / "shop.yaml",
        "data.directory": tmp_path,
        "run.directory": tmp_path / "run",
        "serving.directory": tmp_path / "serving",
    }
    config = load_config(
        "pipeline/configs/movielens_100k.yaml", tuple(f"{key}={value}" for key, value in settings.items())
    )
    with pytest.raises(ConfigError, match=r"tables\.items\.display: .*Did you mean 'title'\?"):
        run_locally(config, config.load_features())
    assert not (tmp_path / "run").exists()
