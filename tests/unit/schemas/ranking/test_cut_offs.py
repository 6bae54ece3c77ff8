import pytest

from schemas.ranking.cut_offs import default_cut_offs

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("items", "ks"), [(500, (10, 50, 100)), (499, (10, 50)), (50, (10,)), (49, (9,)), (40, (8,)), (3, (1,))]
)
def test_cut_offs_follow_the_catalogue(items, ks):
    assert default_cut_offs(items) == ks
