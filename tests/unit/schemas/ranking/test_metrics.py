import pytest

from schemas.ranking.metrics import show_metric

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "shown"), [("recall_at_10", "recall@10"), ("hit_rate_at_100", "hit_rate@100")]
)
def test_a_metrics_name_as_a_person_reads_it(name, shown):
    assert show_metric(name) == shown
