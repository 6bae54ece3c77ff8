from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.next_steps import find_a_user, render_next_steps

pytestmark = pytest.mark.unit

PAGE = Path("runs/shop/artifacts/RunReport/page/15/report.html")


def test_after_a_release_the_commands_carry_the_runs_own_options():
    lines = render_next_steps(
        "shop.yaml", ["model.dim=16", "data.directory=my data"], page=PAGE, user="u 7", is_released=True
    ).splitlines()
    # How wide the model is, is no matter of theirs.
    options = "--config shop.yaml --set 'data.directory=my data'"
    assert [line.strip().split("  ")[0] for line in lines[2:6]] == [
        f"dssm recommend {options} --user 'u 7'",
        f"dssm serve {options}",
        f"dssm report {options} --open",
        f"dssm plot run {options}",
    ]
    assert lines[-1] == f"The report: {PAGE}"
    assert len(lines) <= 10


def test_without_a_release_nothing_is_recommended_and_the_default_configuration_is_not_named():
    text = render_next_steps(
        "pipeline/configs/movielens_100k.yaml", [], page=PAGE, user="7", is_released=False
    )
    assert "recommend" not in text
    assert "serve" not in text
    assert "dssm report --open" in text
    assert "--config" not in text


def test_a_user_is_one_that_was_evaluated(tmp_path):
    table = pa.table({"recall_at_10": [0.5, 1.0], "user": ["u2", "u1"]})
    pq.write_table(table, tmp_path / "per_user_metrics.parquet")
    assert find_a_user(tmp_path) == "u2"
