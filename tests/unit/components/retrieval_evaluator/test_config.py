import pytest

from components.retrieval_evaluator.baselines.labels import LABELS
from components.retrieval_evaluator.baselines.registry import BASELINES
from components.retrieval_evaluator.config import EvaluationConfig, choose_protocol
from schemas.errors import ConfigError
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def test_every_baseline_can_be_configured():
    config = EvaluationConfig(baselines=tuple(BASELINES))
    assert config.shown_baselines == tuple(BASELINES) == tuple(LABELS)


@pytest.mark.parametrize(
    ("items", "ks"), [(500, (10, 50, 100)), (499, (10, 50)), (50, (10,)), (49, (9,)), (40, (8,)), (3, (1,))]
)
def test_default_cut_offs_follow_the_catalogue(items, ks):
    protocol = choose_protocol(EvaluationConfig(), items)
    assert protocol.ks == ks
    assert protocol.deciding_metric == f"recall_at_{ks[-1]}"


def test_a_cut_off_that_finds_everything_is_refused():
    config = EvaluationConfig(ks=(10, 40), blessing_metric="recall_at_10")
    assert choose_protocol(config, 41).ks == (10, 40)
    with pytest.raises(ConfigError, match=r"below the 40 items of .* Received: 40: .* a recall of 1"):
        choose_protocol(config, 40)


def test_a_metric_whose_cut_off_the_catalogue_does_not_allow_is_refused():
    with pytest.raises(ConfigError, match=r"a catalogue of 60 items\. Received: 'recall_at_100'"):
        choose_protocol(EvaluationConfig(blessing_metric="recall_at_100"), 60)


def test_the_deciding_metric_must_be_one_of_those_computed():
    with pytest.raises(ConfigError, match=r"'recall_at_7' is none of .*'mrr_at_5'"):
        parse(EvaluationConfig, {"ks": [5], "blessing_metric": "recall_at_7"}, source="test")


def test_a_baseline_that_decides_must_be_computed():
    with pytest.raises(ConfigError, match=r"Received: 'markof'; did you mean 'markov'\?"):
        parse(EvaluationConfig, {"blessing_baselines": ["markof"]}, source="test")
    with pytest.raises(ConfigError, match=r"expected some of baselines, \['chance', 'popularity', 'als'\]"):
        parse(EvaluationConfig, {"baselines": ["als"], "blessing_baselines": ["markov"]}, source="test")


def test_default_baselines_that_are_left_out_decide_nothing():
    assert EvaluationConfig(baselines=()).deciding_baselines == ("chance", "popularity")
    assert EvaluationConfig().deciding_baselines == ("chance", "popularity", "recent_popularity")


def test_chance_must_be_beaten_in_any_case():
    assert EvaluationConfig(blessing_baselines=("markov",)).deciding_baselines == ("chance", "markov")
