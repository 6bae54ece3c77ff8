import pytest

from components.run_report.blocks import Details, Plots, Table, Text
from components.run_report.sections.quality import describe_curves, describe_metrics

pytestmark = pytest.mark.unit


def test_the_differences_that_decide_are_open_and_the_rest_on_demand(document) -> None:
    document["gate"]["metric"] = "ndcg_at_50"
    blocks = describe_metrics(document).blocks
    [deciding] = [one for one in blocks if isinstance(one, Table) and "Paired" in one.caption]
    [rest] = [one.blocks[0] for one in blocks if isinstance(one, Details)]
    assert isinstance(rest, Table)
    others = len(document["models"]) - 1
    assert [row[1].text for row in deciding.rows] == ["ndcg@50"] * others
    assert "ndcg@50, which decides" in deciding.caption
    assert len(rest.rows) == (len(document["metrics"]) - 1) * others
    assert "ndcg@50" not in {row[1].text for row in rest.rows}
    assert deciding.rows[0][0].text == "this model minus release 1"


def test_a_model_that_could_not_be_computed_is_a_note_alone(document) -> None:
    label = "a model that is not there"
    document["models"].append(
        {"name": "als", "label": label, "metrics": {}, "lists": None, "recall_curve": None,
         "note": "implicit is not installed"}
    )  # fmt: skip
    metrics, curves = describe_metrics(document).blocks, describe_curves(document).blocks
    drawn = [plot for block in (*metrics, *curves) if isinstance(block, Plots) for plot in block.plots]
    assert len(drawn) == 6
    assert not [plot for plot in drawn if label in plot.svg + plot.caption]
    assert not [one for one in metrics if isinstance(one, Table) and label in one.columns]
    assert f"{label}: implicit is not installed." in [one.text for one in metrics if isinstance(one, Text)]


def test_the_table_of_the_curves(document) -> None:
    for number, model in enumerate(document["models"]):
        model["recall_curve"] = {"k": [1, 20], "recall": [0.125, number / 16]}
    [_, details] = describe_curves(document).blocks
    assert isinstance(details, Details)
    [table] = details.blocks
    assert isinstance(table, Table)
    assert table.columns[:3] == ("K", "this model", "release 1")
    assert [[cell.value for cell in row[:3]] for row in table.rows] == [[1, 0.125, 0.125], [20, 0, 0.0625]]
