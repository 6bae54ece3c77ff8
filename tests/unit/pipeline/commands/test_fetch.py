from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.commands.fetch import fetch_command
from pipeline.datasets import completejourney, movielens

pytestmark = pytest.mark.unit


def fetch(monkeypatch, *arguments):
    """Run the command, and return the folders that were written to and its last line."""
    folders = []
    monkeypatch.setattr(movielens, "fetch_movielens_100k", folders.append)
    monkeypatch.setattr(completejourney, "fetch_completejourney", folders.append)
    result = CliRunner().invoke(fetch_command, arguments)
    assert result.exit_code == 0, result.output
    return folders, result.output.splitlines()[-1]


def test_it_says_which_command_comes_next(monkeypatch):
    folders, last = fetch(monkeypatch, "completejourney")
    assert folders == [Path("data/completejourney")]
    assert last == "Next: dssm run --config pipeline/configs/completejourney.yaml"


def test_a_folder_of_ones_own_is_in_that_command(monkeypatch):
    folders, last = fetch(monkeypatch, "movielens-100k", "--output", "my films")
    assert folders == [Path("my films")]
    assert last == (
        "Next: dssm run --config pipeline/configs/movielens_100k.yaml --set 'data.directory=my films'"
    )


def test_another_data_set_is_refused_with_those_that_there_are():
    result = CliRunner().invoke(fetch_command, ["netflix"])
    assert result.exit_code == 2
    assert "'movielens-100k', 'completejourney'" in result.output
