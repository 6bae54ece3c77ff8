"""`dssm schedule`: runs at fixed times, on Kubeflow Pipelines or on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pipeline.commands.kubeflow_options import read_pipeline, takes_endpoint, takes_pipeline
from pipeline.commands.options import reports_errors, takes_config

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Endpoint, Kubeflow
    from pipeline.kubeflow.schedule import Schedule
    from pipeline.local_schedule import SchedulerName

_FIRE_TIMES: Final = 5


class _CreatesByDefault(click.Group):
    """A group in which `create` may be left out, and a subcommand may follow the options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            before = args[-2] if len(args) > 1 else ""
            is_value = before.startswith("-") and "=" not in before and before not in self._list_flags()
            is_last = args[-1] in self.commands and not is_value
            args = [args[-1], *args[:-1]] if is_last else ["create", *args]
        return super().parse_args(ctx, args)

    def _list_flags(self) -> set[str]:
        parameters = [parameter for command in self.commands.values() for parameter in command.params]
        return {
            text
            for parameter in parameters
            if isinstance(parameter, click.Option) and parameter.is_flag
            for text in parameter.opts
        }


_takes_cron = click.option(
    "--cron",
    required=True,
    metavar="CRON",
    help='When: "MINUTE HOUR DAY MONTH WEEKDAY", such as "0 3 * * *"; a sixth field, seconds, goes first.',
)
_takes_cluster_timezone = click.option(
    "--cluster-timezone",
    default="UTC",
    show_default=True,
    help="The installation's cronScheduleTimezone.",
)


@click.group("schedule")
def schedule_command() -> None:
    """Run the pipeline at fixed times."""


@schedule_command.group("kubeflow", cls=_CreatesByDefault)
def kubeflow_group() -> None:
    """Recurring runs on Kubeflow Pipelines, each of which does what `dssm retrain` does.

    `dssm schedule kubeflow --host URL --cron "0 3 * * *"` is `... create ...`: it makes the schedule, or
    replaces the one of the same name if anything about it changed.
    """


@kubeflow_group.command("create")
@takes_endpoint
@takes_pipeline
@_takes_cron
@click.option(
    "--timezone",
    help="The time zone that --cron is meant in, such as Europe/Berlin.  [default: the cluster's]",
)
@_takes_cluster_timezone
@click.option("--name", help="What the schedule is called.  [default: the pipeline's name]")
@click.option(
    "--max-concurrency",
    type=click.IntRange(1, 10),
    default=1,
    show_default=True,
    help="How many of its runs may go on at once.",
)
@click.option("--catchup", is_flag=True, help="Make up for every run that was missed while it was paused.")
@reports_errors
def create_on_kubeflow(
    endpoint: Endpoint,
    pipeline_file: Path | None,
    config: str | None,
    overrides: tuple[str, ...],
    parameters: tuple[str, ...],
    pipeline_name: str | None,
    experiment: str,
    pipeline_root: str | None,
    service_account: str | None,
    cron: str,
    timezone: str | None,
    cluster_timezone: str,
    name: str | None,
    max_concurrency: int,
    catchup: bool,
) -> None:
    """Make a schedule, or change the one of the same name; leaves it enabled."""
    from pipeline.kubeflow.config import PLAN_STEP
    from pipeline.kubeflow.schedule import (
        ScheduleRequest,
        apply_schedule,
        make_cluster_cron,
        render_fire_times,
    )
    from pipeline.kubeflow.upload import choose_pipeline_root, read_parameters, upload

    now = datetime.now(UTC)
    meant_in = timezone or cluster_timezone
    sent = make_cluster_cron(cron, meant_in, cluster_timezone, now).six_fields
    compiled = read_pipeline(pipeline_file, config, overrides, retraining=True)
    if PLAN_STEP not in compiled.tasks:
        click.echo(
            f"Note: {pipeline_file} was compiled without --retraining, so each run trains whether or not "
            "anything is new, and nothing is cleaned up or told.",
            err=True,
        )
    values = read_parameters(parameters, compiled)
    request = ScheduleRequest(
        name=name or compiled.name,
        experiment=experiment,
        cron=sent,
        cluster_timezone=cluster_timezone,
        parameters=values,
        max_concurrency=max_concurrency,
        catchup=catchup,
        pipeline_root=choose_pipeline_root(pipeline_root, compiled),
        service_account=service_account,
    )
    click.echo(f"{cron!r} in {meant_in} is {sent!r} with seconds first in {cluster_timezone}; next:")
    for text in render_fire_times(sent, cluster_timezone, meant_in, now, _FIRE_TIMES):
        click.echo(f"  {text}")

    from pipeline.kubeflow.client import Kubeflow

    kubeflow = Kubeflow(endpoint)
    version = upload(kubeflow, compiled, pipeline_name)
    schedule = apply_schedule(kubeflow, version, request, compiled.sha256)
    click.echo(f"Schedule: {kubeflow.link('recurringrun', schedule.schedule_id)}")


@kubeflow_group.command("status")
@takes_endpoint
@click.option("--name", help="Only this schedule.")
@reports_errors
def show_on_kubeflow(endpoint: Endpoint, name: str | None) -> None:
    """Show the schedules that were made here; status 1 if a change of one stopped half way."""
    from pipeline.kubeflow.client import Kubeflow
    from pipeline.kubeflow.schedule import check_is_finished, list_schedules, render_fire_times

    kubeflow = Kubeflow(endpoint)
    shown = [found for found in list_schedules(kubeflow) if name in (None, found.name)]
    if not shown:
        click.echo("No schedule")
    for found in shown:
        state = "enabled" if found.enabled else "paused"
        click.echo(f"{found.name}: {state}, cron {found.cron!r} (seconds first) in {found.timezone}")
        click.echo(f"  pipeline sha256:{found.pipeline_sha256[:12]}")
        click.echo(f"  {kubeflow.link('recurringrun', found.schedule_id)}")
        if found.enabled:
            now = datetime.now(UTC)
            for text in render_fire_times(found.cron, found.timezone, found.timezone, now, _FIRE_TIMES):
                click.echo(f"  {text}")
    check_is_finished(shown)


@kubeflow_group.command("pause")
@takes_endpoint
@click.option("--name", help="The schedule.  [default: the only one]")
@reports_errors
def pause_on_kubeflow(endpoint: Endpoint, name: str | None) -> None:
    """Let a schedule start no more runs until it is resumed."""
    from pipeline.kubeflow.client import Kubeflow
    from pipeline.kubeflow.schedule import pause_schedule

    kubeflow = Kubeflow(endpoint)
    picked = _pick(kubeflow, name)
    pause_schedule(kubeflow, picked)
    click.echo(f"{picked[0].name} is paused")


@kubeflow_group.command("resume")
@takes_endpoint
@click.option("--name", help="The schedule.  [default: the only one]")
@reports_errors
def resume_on_kubeflow(endpoint: Endpoint, name: str | None) -> None:
    """Let a paused schedule start runs again."""
    from pipeline.kubeflow.client import Kubeflow
    from pipeline.kubeflow.schedule import render_fire_times, resume_schedule

    kubeflow = Kubeflow(endpoint)
    picked = _pick(kubeflow, name)
    resume_schedule(kubeflow, picked)
    click.echo(f"{picked[0].name} is enabled; next:")
    cron, timezone = picked[0].cron, picked[0].timezone
    for text in render_fire_times(cron, timezone, timezone, datetime.now(UTC), _FIRE_TIMES):
        click.echo(f"  {text}")


@kubeflow_group.command("remove")
@takes_endpoint
@click.option("--name", help="The schedule.  [default: the only one]")
@reports_errors
def remove_on_kubeflow(endpoint: Endpoint, name: str | None) -> None:
    """Delete a schedule; runs that go on are left alone."""
    from pipeline.kubeflow.client import Kubeflow
    from pipeline.kubeflow.schedule import list_schedules, pick_schedules, remove_schedule

    kubeflow = Kubeflow(endpoint)
    picked = pick_schedules(list_schedules(kubeflow), name)
    remove_schedule(kubeflow, picked)
    click.echo(f"{picked[0].name} is removed" if picked else "There was no such schedule")


def _pick(kubeflow: Kubeflow, name: str | None) -> list[Schedule]:
    from pipeline.kubeflow.client import KubeflowError
    from pipeline.kubeflow.schedule import list_schedules, pick_schedules

    picked = pick_schedules(list_schedules(kubeflow), name)
    if not picked:
        raise KubeflowError(f"There is no schedule{f' {name!r}' if name else ''} that `dssm` made there.")
    return picked


@schedule_command.group("local", cls=_CreatesByDefault)
def local_group() -> None:
    """`dssm retrain` by this machine's own scheduler.

    `dssm schedule local --cron "0 3 * * *"` is `... create ...`: a systemd user timer, or a line of your
    crontab where there is no systemd.
    """


_takes_local_name = click.option(
    "--name", default="run", show_default=True, help="What the schedule is called; one of a name is kept."
)


@local_group.command("create")
@takes_config
@_takes_cron
@_takes_local_name
@click.option(
    "--scheduler",
    type=click.Choice(["systemd", "crontab"]),
    help="Which one.  [default: systemd where it runs for the user, otherwise crontab]",
)
@click.option("--print", "only_print", is_flag=True, help="Show what would be installed and change nothing.")
@reports_errors
def create_locally(
    config: str,
    overrides: tuple[str, ...],
    cron: str,
    name: str,
    scheduler: SchedulerName | None,
    only_print: bool,
) -> None:
    """Schedule `dssm retrain`, in the place of what has the same name."""
    from dateutil.tz import tzlocal

    from pipeline.config import load_config
    from pipeline.cron import next_fire_times, parse_cron
    from pipeline.local_schedule import (
        Job,
        LocalScheduleError,
        find_program,
        find_scheduler,
        install,
        render_crontab_line,
        render_units,
    )
    from schemas.yaml_files import locate

    parsed = parse_cron(cron)
    settings = load_config(config, overrides)
    job = Job(
        name=name,
        cron=parsed,
        command=(
            find_program(),
            "retrain",
            "--config",
            str(Path(locate(config)).absolute()),
            *(text for override in overrides for text in ("--set", override)),
        ),
        directory=Path.cwd(),
        log_file=Path(settings.run.directory).absolute() / "logs" / f"schedule-{name}.log",
    )
    try:
        chosen = scheduler or find_scheduler()
    except LocalScheduleError:
        if not only_print:
            raise
        chosen = "systemd"
    if chosen == "systemd":
        for file, text in render_units(job).items():
            click.echo(f"# {file}\n{text}")
    else:
        click.echo(f"# crontab\n{render_crontab_line(job)}\n")
    click.echo("Next:")
    for moment in next_fire_times(parsed, datetime.now(tzlocal()), _FIRE_TIMES):
        click.echo(f"  {moment:%a %Y-%m-%d %H:%M:%S %Z}")
    if only_print:
        return
    install(job, chosen)
    click.echo(f"Installed {name} with {chosen}")
    if chosen == "systemd":
        click.echo("It runs while you are logged in; `loginctl enable-linger` lets it run always.")


@local_group.command("status")
@_takes_local_name
@reports_errors
def show_locally(name: str) -> None:
    """Show what this machine's schedulers hold."""
    from pipeline.local_schedule import describe

    click.echo(describe(name) or f"No schedule {name!r} on this machine")


@local_group.command("remove")
@_takes_local_name
@reports_errors
def remove_locally(name: str) -> None:
    """Take the schedule off this machine; a run that goes on is left alone."""
    from pipeline.local_schedule import remove

    click.echo(f"Removed {name}" if remove(name) else f"There was no schedule {name!r} on this machine")
