import importlib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit


@pytest.fixture
def rows(benchmarks):
    return importlib.import_module("quality_rows")


@pytest.fixture
def parser(benchmarks):
    return importlib.import_module("quality").make_parser()


def test_a_folder_of_tables_is_read_by_its_own_schema_file(rows, tmp_path):
    directory = f'data.directory="{tmp_path}"'
    assert rows.locate_tables(str(tmp_path)) == (directory,)
    (tmp_path / "schema.yaml").touch()
    assert rows.locate_tables(str(tmp_path)) == (directory, f'data.schema="{tmp_path}/schema.yaml"')


def test_of_a_folder_of_init_another_configuration_takes_the_tables(rows, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "run: {name: shop, directory: runs}\n"
        "data: {schema: shop/schema.yaml, directory: exports}\n"
        "serving: {directory: serving}\n",
        encoding="utf-8",
    )
    assert rows.find_config(str(tmp_path), None) == [str(config)]
    assert rows.find_config(str(tmp_path), ["other.yaml"]) == ["other.yaml"]
    tables = ('data.directory="exports"', 'data.schema="shop/schema.yaml"')
    assert rows.locate_tables(str(tmp_path)) == tables


def test_a_downloaded_data_set_has_the_shipped_configuration(rows, tmp_path):
    assert rows.find_config(str(tmp_path / "completejourney"), None) == [
        "pipeline/configs/completejourney.yaml"
    ]
    assert rows.find_config(str(tmp_path), None) == ["pipeline/configs/movielens_100k.yaml"]


def test_movielens_has_the_recipe_of_its_kind_and_the_shipped_configuration(rows):
    files = ["pipeline/configs/recipes/few_long_sequences.yaml", "pipeline/configs/movielens_100k.yaml"]
    assert rows.find_config(None, None) == files
    assert rows.find_config(None, ["other.yaml"]) == ["other.yaml"]


def first_serving(rows, parser, *options):
    """The serving directory of the first row, which the table calls by the same name whatever it is."""
    first, *_ = rows.list_configured(parser.parse_args(options))
    assert first.name == "this pipeline"
    return rows.name_serving(first)


def test_first_rows_that_differ_share_no_serving_directory(rows, parser, tmp_path):
    file = tmp_path / "other.yaml"
    shipped = Path(rows.CONFIG).read_text(encoding="utf-8")
    file.write_text(shipped, encoding="utf-8")
    options = [
        [],
        ["--config", rows.CONFIG],
        ["--config", str(file)],
        ["--dataset", str(tmp_path / "films"), "--config", rows.CONFIG],
        ["--quick", "--config", rows.CONFIG],
        ["--config", rows.CONFIG, "--set", "model.dim=32"],
    ]
    names = [first_serving(rows, parser, *of_run) for of_run in options]
    # Again, a second row, and a file that was edited since.
    assert names == [first_serving(rows, parser, *of_run) for of_run in options]
    assert first_serving(rows, parser, "--config", rows.CONFIG, str(file)) == names[1]
    file.write_text(shipped.replace("epochs: ", "epochs: 1"), encoding="utf-8")
    names.append(first_serving(rows, parser, "--config", str(file)))
    assert len(set(names)) == len(options) + 1


def test_a_configuration_has_one_serving_directory_wherever_it_stands(rows, parser):
    first, second = rows.list_configured(parser.parse_args([]))
    [again] = rows.list_configured(parser.parse_args(["--config", rows.CONFIG]))
    assert (second.name, again.name) == ("movielens_100k", "this pipeline")
    assert rows.name_serving(second) == rows.name_serving(again) != rows.name_serving(first)
