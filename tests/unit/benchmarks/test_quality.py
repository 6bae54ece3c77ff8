import importlib

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
