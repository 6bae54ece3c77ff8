"""What is refused before a pipeline is compiled."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands.kubeflow_options import load_prepared
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit


def test_a_misspelt_column_to_show_is_refused_where_the_tables_are_here(tmp_path):
    tables = {name: tmp_path / name for name in ("right", "wrong", "elsewhere")}
    for name, column in (("right", "title"), ("wrong", "titel")):
        tables[name].mkdir()
        table = pa.table({"item_id": ["a"], column: ["A"], "year": [1999]})
        pq.write_table(table, tables[name] / "items.parquet")
    given = ("kubeflow.image=i:1", "data.schema=schemas/movielens_100k.yaml")
    for name in ("right", "elsewhere"):
        load_prepared(
            "pipeline/configs/movielens_100k.yaml", (*given, f"kubeflow.data_directory={tables[name]}")
        )
    with pytest.raises(ConfigError, match=r"tables\.items\.display: .* Received: 'title'\."):
        load_prepared(
            "pipeline/configs/movielens_100k.yaml", (*given, f"kubeflow.data_directory={tables['wrong']}")
        )
