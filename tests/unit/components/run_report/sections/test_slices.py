import re
from typing import Any

import pytest

from components.run_report.blocks import Plots, Table, Text
from components.run_report.sections.slices import describe_slices

pytestmark = pytest.mark.unit


def make_slice(group: str, value: float, users: int = 100, **changes: Any) -> dict[str, Any]:
    estimate = {"value": value, "low": value - 0.05, "high": value + 0.05}
    metrics = dict.fromkeys(("recall_at_50", "ndcg_at_50", "mrr_at_5"), estimate)
    slice_ = {"group": group, "label": "some", "users": users, "is_judged": users >= 50, "metrics": metrics}
    return {**slice_, "difference": None, **changes}


@pytest.fixture
def three_slices(document) -> dict[str, Any]:
    document["gate"]["metric"] = "mrr_at_5"
    document["metrics"]["mrr_at_5"] = 0.3
    document["slices"] = [make_slice("age", 0.1), make_slice("age", 0.2, 9), make_slice("year", 0.9)]
    return document


def test_the_metric_that_decides_comes_first(three_slices) -> None:
    plots, text, table = describe_slices(three_slices).blocks
    assert isinstance(plots, Plots)
    assert [plot.caption.split(",")[0] for plot in plots.plots] == ["mrr@5 by age", "mrr@5 by year"]
    assert isinstance(text, Text)
    assert text.text.startswith("1 of 3 slices have too few users")
    assert isinstance(table, Table)
    assert list(table.columns) == ["slice", "users", "mrr@5", "recall@50", "ndcg@50", "judged"]
    assert [cell.text for cell in table.rows[1]] == [
        "age: some", "9", *["0.2000 [0.1500, 0.2500]"] * 3, "no",
    ]  # fmt: skip


def test_plots_of_slices_can_be_compared(three_slices) -> None:
    plots = describe_slices(three_slices).blocks[0]
    assert isinstance(plots, Plots)
    first, second = (re.findall(r">(\d\.\d+)</text>", plot.svg) for plot in plots.plots)
    assert first == second
    # From .05 to .95, what the two have together.
    assert float(first[0]) <= 0.2
    assert float(first[-1]) >= 0.8


def test_the_difference_to_the_release(three_slices) -> None:
    for one in three_slices["slices"]:
        one["difference"] = {"metric": "mrr_at_5", "value": -0.25, "low": -0.5, "high": -0.125}
    table = describe_slices(three_slices).blocks[-1]
    assert isinstance(table, Table)
    assert table.columns[-2] == "mrr@5 less the current release's"
    assert (table.rows[0][-2].text, table.rows[0][-2].tone) == ("-0.2500 [-0.5000, -0.1250]", "bad")


def test_no_slices(document) -> None:
    document["slices"] = []
    [text] = describe_slices(document).blocks
    assert isinstance(text, Text)
