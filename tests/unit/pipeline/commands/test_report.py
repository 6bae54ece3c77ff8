import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.commands.report import find_page
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit


def leave_run(directory: Path, execution: int, run_id: str) -> Path:
    step = directory / "artifacts" / "RunReport"
    page = step / "page" / str(execution) / "report.html"
    scalars = step / "scalars" / str(execution) / "scalars.json"
    for file, content in ((page, "<!doctype html>"), (scalars, json.dumps({"run_id": run_id}))):
        file.parent.mkdir(parents=True)
        file.write_text(content)
    return page


def test_finds_the_newest_and_any_other(tmp_path) -> None:
    old = leave_run(tmp_path, 9, "20261101T0000")
    new = leave_run(tmp_path, 10, "20261102T0000")
    (tmp_path / "artifacts/RunReport/scalars/11").mkdir()
    (tmp_path / "artifacts/RunReport/scalars/.system").mkdir()
    assert find_page(tmp_path) == new
    assert find_page(tmp_path, "20261101") == old
    with pytest.raises(
        ConfigError, match=r"such as 20261101T0000, 20261102T0000. Received: '2026', the start of 2"
    ):
        find_page(tmp_path, "2026")
    with pytest.raises(ConfigError, match=r"Received: '7', no run's"):
        find_page(tmp_path, "7")


def test_without_a_run_it_says_what_to_do(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"Received: none. Run `dssm run` first"):
        find_page(tmp_path)


def test_the_command_says_and_opens_the_page(tmp_path, monkeypatch) -> None:
    page = leave_run(tmp_path / "runs", 3, "r1")
    config = tmp_path / "c.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "run": {"name": "n", "directory": str(tmp_path / "runs")},
                "data": {"schema": "schemas/movielens_100k.yaml", "directory": "d"},
                "serving": {"directory": "s"},
            }
        )
    )
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = CliRunner().invoke(main, ["report", "--config", str(config)])
    assert (result.exit_code, result.output.strip()) == (0, str(page))
    assert opened == []
    CliRunner().invoke(main, ["report", "--config", str(config), "--open", "r1"])
    assert opened == [page.as_uri()]
    result = CliRunner().invoke(main, ["report", "--config", str(config), "r2"])
    assert result.exit_code == 1
