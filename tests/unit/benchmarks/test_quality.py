import importlib

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture
def quality(benchmarks):
    return importlib.import_module("quality")


@pytest.mark.parametrize(
    ("options", "has_bars"),
    [
        ([], True),
        (["--rivals", "als", "--variants", "variants.yaml", "--seeds", "3"], True),
        (["--set", "training.epochs=1"], False),
        (["--seeds", "1"], False),
        (["--config", "pipeline/configs/movielens_100k.yaml"], False),
        (["--dataset", "data/completejourney"], False),
        (["--quick"], False),
    ],
    ids=str,
)
def test_the_bars_are_those_of_the_default_run_alone(quality, options, has_bars):
    bars = quality.choose_bars(quality.make_parser().parse_args(options))
    assert bars == (quality.BARS if has_bars else {})
