import pytest

from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.gate import decide, write_blessing
from schemas.errors import ConfigError
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "popularity", "minimum", "expected"),
    [(0.3, 0.2, 0.0, True), (0.2, 0.2, 0.0, False), (0.3, 0.2, 0.3, True), (0.3, 0.2, 0.31, False)],
)
def test_a_model_is_blessed_above_popularity_and_from_the_minimum_on(value, popularity, minimum, expected):
    config = EvaluationConfig(ks=(5,), blessing_metric="ndcg_at_5", blessing_minimum=minimum)
    other = {"recall_at_5": 0.5}
    is_blessed, figures = decide({"ndcg_at_5": value, **other}, {"ndcg_at_5": popularity, **other}, config)
    assert is_blessed is expected
    assert figures == {
        "metric": "ndcg_at_5",
        "value": value,
        "popularity": popularity,
        "minimum": minimum,
    }


def test_the_deciding_metric_must_be_one_of_those_computed():
    with pytest.raises(ConfigError, match=r"'recall_at_7' is none of .*'mrr_at_5'"):
        parse(EvaluationConfig, {"ks": [5], "blessing_metric": "recall_at_7"}, source="test")


@pytest.mark.parametrize(("is_blessed", "name"), [(True, "BLESSED"), (False, "NOT_BLESSED")])
def test_the_blessing_is_a_file(tmp_path, is_blessed, name):
    write_blessing(is_blessed, tmp_path / "blessing")
    [file] = (tmp_path / "blessing").iterdir()
    assert file.name == name
    assert file.stat().st_size
