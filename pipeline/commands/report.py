"""`dssm report`: the page of the newest run, or of another one."""

import json
import webbrowser
from pathlib import Path
from typing import Final

import click

from pipeline.commands.options import follows_last_run, reports_errors
from schemas.contract import REPORT_PAGE_FILE, REPORT_SCALARS_FILE
from schemas.errors import ConfigError

_STEP: Final = Path("artifacts", "RunReport")


@click.command("report")
@click.argument("run", required=False)
@follows_last_run
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@reports_errors
def report_command(run: str | None, config: str, overrides: tuple[str, ...], opens: bool) -> None:
    """Say where the report of the newest run is, or of RUN, a run's id or the start of one.

    The page is one file without scripts: it can be sent, and read without network.
    """
    from pipeline.config import load_config

    page = find_page(Path(load_config(config, overrides).run.directory), run)
    click.echo(page)
    if opens:
        webbrowser.open(page.absolute().as_uri())


def find_page(directory: Path, run: str | None = None) -> Path:
    """Find the page of a run by the files that the runs left, without ML Metadata.

    Args:
        directory: The folder of the runs, `run.directory`.
        run: The run's id or the start of one; None: the newest run.

    Returns:
        The page.

    Raises:
        ConfigError: There is none, or the start is that of several runs.
    """
    pages = _list_pages(directory / _STEP)
    if not pages:
        raise ConfigError(
            f"Expected the report of a run in {directory / _STEP}. Received: none. Run `dssm run` first, or "
            "name its configuration with --config."
        )
    if run is None:
        return list(pages.values())[-1]
    found = [name for name in pages if name.startswith(run)]
    if len(found) != 1:
        shown = ", ".join(list(pages)[-5:])
        what = "no run's" if not found else f"the start of {len(found):,} runs'"
        raise ConfigError(f"Expected the id of one run, such as {shown}. Received: {run!r}, {what}.")
    return pages[found[0]]


def _list_pages(step: Path) -> dict[str, Path]:
    """List the pages by the ids of their runs, the newest last."""
    pages = {}
    # TFX numbers the folders by the executions, in the order in which they began.
    for folder in sorted(_list_executions(step / "scalars"), key=lambda found: int(found.name)):
        page = step / "page" / folder.name / REPORT_PAGE_FILE
        scalars = folder / REPORT_SCALARS_FILE
        if page.is_file() and scalars.is_file():
            pages[str(json.loads(scalars.read_text(encoding="utf-8"))["run_id"])] = page
    return pages


def _list_executions(folder: Path) -> list[Path]:
    return [found for found in folder.iterdir() if found.name.isdecimal()] if folder.is_dir() else []
