import importlib
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.unit


@pytest.fixture
def quality(benchmarks):
    return importlib.import_module("quality")


def test_a_folder_of_tables_is_read_by_its_own_schema_file(quality, tmp_path):
    directory = f'data.directory="{tmp_path}"'
    assert quality.locate_tables(str(tmp_path)) == (directory,)
    (tmp_path / "schema.yaml").touch()
    assert quality.locate_tables(str(tmp_path)) == (directory, f'data.schema="{tmp_path}/schema.yaml"')


def test_of_a_folder_of_init_another_configuration_takes_the_tables(quality, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "run: {name: shop, directory: runs}\n"
        "data: {schema: shop/schema.yaml, directory: exports}\n"
        "serving: {directory: serving}\n",
        encoding="utf-8",
    )
    assert quality.find_config(str(tmp_path), None) == [str(config)]
    assert quality.find_config(str(tmp_path), ["other.yaml"]) == ["other.yaml"]
    tables = ('data.directory="exports"', 'data.schema="shop/schema.yaml"')
    assert quality.locate_tables(str(tmp_path)) == tables


def test_a_downloaded_data_set_has_the_shipped_configuration(quality, tmp_path):
    assert quality.find_config(str(tmp_path / "completejourney"), None) == [
        "pipeline/configs/completejourney.yaml"
    ]
    assert quality.find_config(str(tmp_path), None) == ["pipeline/configs/movielens_100k.yaml"]


def test_movielens_has_the_recipe_of_its_kind_and_the_shipped_configuration(quality):
    files = ["pipeline/configs/recipes/few_long_sequences.yaml", "pipeline/configs/movielens_100k.yaml"]
    assert quality.find_config(None, None) == files
    assert quality.find_config(None, ["other.yaml"]) == ["other.yaml"]


def first_serving(quality, *options):
    """The serving directory of the first row, which the table calls by the same name whatever it is."""
    first, *_ = quality.list_configured(quality.make_parser().parse_args(options))
    assert first.name == "this pipeline"
    return quality.name_serving(first)


def test_first_rows_that_differ_share_no_serving_directory(quality, tmp_path):
    file = tmp_path / "other.yaml"
    shipped = Path(quality.CONFIG).read_text(encoding="utf-8")
    file.write_text(shipped, encoding="utf-8")
    options = [
        [],
        ["--config", quality.CONFIG],
        ["--config", str(file)],
        ["--dataset", str(tmp_path / "films"), "--config", quality.CONFIG],
        ["--quick", "--config", quality.CONFIG],
        ["--config", quality.CONFIG, "--set", "model.dim=32"],
    ]
    names = [first_serving(quality, *of_run) for of_run in options]
    # Again, a second row, and a file that was edited since.
    assert names == [first_serving(quality, *of_run) for of_run in options]
    assert first_serving(quality, "--config", quality.CONFIG, str(file)) == names[1]
    file.write_text(shipped.replace("epochs: ", "epochs: 1"), encoding="utf-8")
    names.append(first_serving(quality, "--config", str(file)))
    assert len(set(names)) == len(options) + 1


def test_a_configuration_has_one_serving_directory_wherever_it_stands(quality):
    first, second = quality.list_configured(quality.make_parser().parse_args([]))
    [again] = quality.list_configured(quality.make_parser().parse_args(["--config", quality.CONFIG]))
    assert (second.name, again.name) == ("movielens_100k", "this pipeline")
    assert quality.name_serving(second) == quality.name_serving(again) != quality.name_serving(first)


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


class ChosenBySign:
    """Puts what is held out first or last by the sign that it is given, and notes its settings."""

    def __init__(self):
        self.measured = []

    def score(self, task, settings):
        self.measured.append(settings)
        scores = np.zeros((len(task.users), task.item_count), np.float32)
        scores[task.queries.targets.owners, task.queries.targets.items] = settings["sign"]
        return lambda queries: scores[queries].copy()


@pytest.fixture
def experiment(quality, block_tasks):
    validation, final = block_tasks
    ours = quality.Configured(quality.OURS, quality.CONFIG)
    return quality.Experiment(validation, final, (5,), (1, 2, 3), ours, {}, Path(), 1, None)


@pytest.mark.parametrize(
    ("is_random", "last"),
    [(False, [{"sign": 1}]), (True, [{"sign": 1, "seed": seed} for seed in (1, 2, 3)])],
)
def test_a_random_model_is_measured_with_each_seed_and_another_once(quality, experiment, is_random, last):
    model = ChosenBySign()
    tuned = quality.Tuned(model.score, {"sign": (-1, 1)}, {"sign": (-1,)}, is_random=is_random)
    found = quality.measure_tuned(tuned, experiment, quick=False)
    assert model.measured == [{"sign": -1}, {"sign": 1}, *last]
    assert found.chosen == "sign 1"
    # Each user's one held-out item comes first.
    assert found.means("recall_at_5") == [1.0] * len(last)
    assert quality.measure_tuned(tuned, experiment, quick=True).chosen == "sign -1"


def test_a_model_of_too_many_items_is_not_run(quality, experiment):
    def build(most_items):
        return quality.Tuned(ChosenBySign().score, {"sign": (1,)}, {"sign": (1,)}, most_items=most_items)

    assert quality.measure_tuned(build(20), experiment, quick=False).metrics
    refused = quality.measure_tuned(build(19), experiment, quick=False)
    assert refused.chosen == "not run: 20 items, and it needs a matrix of items x items"
    assert not refused.metrics
