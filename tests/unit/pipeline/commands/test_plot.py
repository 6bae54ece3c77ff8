import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from pipeline.commands.plot import find_newest, plot_command
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit


def plot(*arguments, directory) -> Result:
    return CliRunner().invoke(plot_command, [*arguments, "--set", f"run.directory={directory}"])


@pytest.fixture
def run_directory(tmp_path):
    """A run with a log of three interactions, and an older one with one."""
    for execution, users in (("9", [["a"]]), ("12", [["a", "b"], ["a"]])):
        folder = tmp_path / "artifacts/InteractionIngest/sequences" / execution
        folder.mkdir(parents=True)
        times = [[86_400 * day for day in range(len(items))] for items in users]
        pq.write_table(
            pa.table({"item_id": users, "timestamp": times}), folder / "sequences-00000-of-00001.parquet"
        )
    return tmp_path


def test_the_newest_runs_data_become_pictures(run_directory):
    result = plot("data", directory=run_directory)
    assert result.exit_code == 0, result.output
    assert "Popularity of 2 items" in result.output
    assert "Interactions of 2 users" in result.output
    assert {file.name for file in (run_directory / "plots").iterdir()} == {
        "interactions.png", "popularity.png", "histories.png",
    }  # fmt: skip


def test_on_a_terminal_no_file_is_written(run_directory):
    result = plot("data", "--terminal", directory=run_directory)
    assert result.exit_code == 0, result.output
    assert "┤█" in result.output
    assert not (run_directory / "plots").exists()


def test_without_a_run_it_says_what_to_do(tmp_path):
    result = plot("run", directory=tmp_path)
    assert result.exit_code == 1
    assert "Expected a training in" in result.output
    assert "Run `dssm run` first" in result.output


def test_an_execution_that_wrote_nothing_is_passed_over(tmp_path):
    for name, is_empty in (("2", False), ("10", False), ("11", True)):
        (tmp_path / name).mkdir()
        if not is_empty:
            (tmp_path / name / "file").touch()
    assert find_newest(tmp_path, "a run").name == "10"
    with pytest.raises(ConfigError, match=r"Expected a run in .*nowhere\. Received: none"):
        find_newest(tmp_path / "nowhere", "a run")
