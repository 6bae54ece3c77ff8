import pytest

from components.ann_index.config import AnnConfig
from components.ann_index.ladder import list_branches
from schemas.errors import ConfigError
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def test_the_floor_is_the_target_unless_it_is_lower():
    assert AnnConfig(target_recall=0.9).smallest_recall == 0.9
    assert AnnConfig(target_recall=0.9, floor=0.8).smallest_recall == 0.8
    with pytest.raises(ConfigError, match=r"expected at most target_recall, 0\.9, .* Received: 0\.95"):
        parse(AnnConfig, {"target_recall": 0.9, "floor": 0.95}, "test")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="ivf_pq"):
        parse(AnnConfig, {"kinds": ["ivf_pq"]}, "test")


def test_the_lists_grow_with_the_root_of_the_catalogue():
    # 1 and 4 times 1,000, the nearest powers of two on a logarithmic scale.
    of_a_million = list_branches(("ivf_flat",), 1_000_000)
    assert [[build.parameters for build in branch] for branch in of_a_million] == [
        [{"nlist": 1024}], [{"nlist": 4096}],
    ]  # fmt: skip


def test_what_is_quick_to_build_is_tried_first_and_a_kind_once():
    [*lists, graphs] = list_branches(("hnsw", "ivf_sq8", "hnsw"), 20_000)
    assert [build.parameters["M"] for build in graphs] == [16, 32]
    assert [branch[0].kind for branch in lists] == ["ivf_sq8", "ivf_sq8"]
