import json

import click
import pytest
from click.testing import CliRunner

from pipeline.commands.options import DEFAULT_CONFIG, follows_last_run, remember_configuration, takes_config
from pipeline.last_run import find_last_run

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DSSM_LAST_RUN")
    monkeypatch.chdir(tmp_path)


@click.command()
@follows_last_run
@click.option("--serving")
def reader(config, overrides, serving):
    click.echo(json.dumps([config, overrides]))


@click.command()
@takes_config
def writer(config, overrides):
    click.echo(json.dumps([config, overrides]))


def read(*options):
    """What a command takes that looks at what a run made, and what it tells on the screen."""
    result = CliRunner().invoke(reader, options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_without_a_run_the_configuration_is_the_shipped_one():
    assert read() == ([DEFAULT_CONFIG, []], "")
    assert read("--set", "serving.directory=here") == ([DEFAULT_CONFIG, ["serving.directory=here"]], "")


def test_the_last_run_is_followed_and_told_where_nobody_reads_answers():
    remember_configuration("first.yaml", ())
    remember_configuration("shop.yaml", ("run.directory=my runs",))
    options, told = read("--set", "data.directory=d")
    assert options == ["shop.yaml", ["run.directory=my runs", "data.directory=d"]]
    assert told.startswith("Configuration: shop.yaml --set 'run.directory=my runs', as the last run here (20")


def test_who_names_a_configuration_gets_that_one_alone():
    remember_configuration("shop.yaml", ("run.directory=elsewhere",))
    assert read("--config", "other.yaml") == (["other.yaml", []], "")
    assert read("--serving", "releases") == ([DEFAULT_CONFIG, []], "")


def test_a_run_does_not_follow_the_last_one():
    remember_configuration("shop.yaml", ())
    assert json.loads(CliRunner().invoke(writer).stdout) == [DEFAULT_CONFIG, []]


def test_each_folder_has_its_own(tmp_path, monkeypatch):
    remember_configuration("shop.yaml", ())
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert find_last_run() is None
    remember_configuration("films.yaml", ())
    monkeypatch.chdir(tmp_path)
    assert find_last_run().config == "shop.yaml"


def test_the_default_configuration_is_not_worth_a_line():
    remember_configuration(DEFAULT_CONFIG, ())
    assert read() == ([DEFAULT_CONFIG, []], "")


def test_a_file_that_is_no_run_is_told_and_followed_by_nobody(tmp_path):
    (tmp_path / ".dssm").mkdir()
    (tmp_path / ".dssm" / "last_run.json").write_text('{"config": "shop.yaml"}')
    result = CliRunner().invoke(reader)
    assert result.exit_code == 1
    assert ".dssm/last_run.json: expected what `dssm run` wrote. Received: KeyError" in result.stderr


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path, capsys):
    (tmp_path / ".dssm").write_text("a file")
    remember_configuration("shop.yaml", ())
    assert "Note: .dssm/last_run.json cannot be written" in capsys.readouterr().err
    assert read() == ([DEFAULT_CONFIG, []], "")


def test_the_environment_names_another_file_or_none(tmp_path, monkeypatch):
    monkeypatch.setenv("DSSM_LAST_RUN", str(tmp_path / "elsewhere.json"))
    remember_configuration("shop.yaml", ())
    assert read()[0] == ["shop.yaml", []]
    monkeypatch.setenv("DSSM_LAST_RUN", "")
    remember_configuration("films.yaml", ())
    assert read()[0] == [DEFAULT_CONFIG, []]
    assert not (tmp_path / ".dssm").exists()
