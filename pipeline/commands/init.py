"""`dssm init`: a schema file and a configuration for one's own tables."""

import shlex
from pathlib import Path

import click

from pipeline.commands.options import reports_errors


@click.command("init")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder of the files that are written.  [default: the working directory]",
)
@click.option("--name", help="Name of the data set.  [default: of the log's folder]")
@click.option("--log", metavar="FILE", help="Which of the FILES is the log.")
@click.option("--users", metavar="FILE", help="Which of the FILES has the users.")
@click.option("--items", metavar="FILE", help="Which of the FILES has the items.")
@click.option("--user-column", metavar="NAME", help="The log's column with the user.")
@click.option("--item-column", metavar="NAME", help="The log's column with the item.")
@click.option("--time-column", metavar="NAME", help="The log's column with the time.")
@click.option("--interactive", is_flag=True, help="Ask about the log's columns before anything is written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def init_command(
    files: tuple[str, ...],
    output: Path,
    name: str | None,
    log: str | None,
    users: str | None,
    items: str | None,
    user_column: str | None,
    item_column: str | None,
    time_column: str | None,
    interactive: bool,
    as_json: bool,
) -> None:
    """Look at one, two or three tables and write a schema file and a configuration that `dssm run` takes.

    FILES are the log of interactions and, where there are any, the users and the items: files, folders or
    patterns, in any order. Each decision is shown with its evidence and with what overrules it; the evidence
    stands beside each line that is written, too. Nothing is overwritten.
    """
    from pipeline.first_look.ask import ask_for_columns
    from pipeline.first_look.plan import name_project, plan_project
    from pipeline.first_look.rendering import CONFIG_FILE
    from pipeline.first_look.roles import Wishes
    from pipeline.first_look.screen import plan_to_json, render_plan
    from pipeline.first_look.write import require_free, write_project

    require_free(output)
    wishes = Wishes(log, users, items, user_column, item_column, time_column)
    plan = plan_project(files, name or name_project(files), wishes)
    if interactive:
        plan = ask_for_columns(plan, files, wishes)
    derived_rows = write_project(plan, output)
    if as_json:
        click.echo(plan_to_json(plan, output))
        return
    click.echo(render_plan(plan, output, derived_rows))
    config = output / CONFIG_FILE
    commands = [shlex.join(["dssm", command, "--config", str(config)]) for command in ("check", "run")]
    click.echo("\n  ".join([f"\nWrote {config} and what it names. Next:", *commands]))
