"""A recurring run on an endpoint: made once, replaced when it changes, never enabled twice.

The API has no call that changes a recurring run, so a change is a new one: created disabled, then the old
one disabled, the new one enabled, the old one deleted. After a failure anywhere in between, the same call
again finds what is there and goes on. Ours are known by the hash of their definition in the description.
Between disabling and enabling lies a moment with none enabled; `pipeline.kubeflow.switch` keeps it short.

Two facts of the server (robfig/cron 1.2 in the API server and in the schedule controller of 2.14-2.17):
an expression of five fields is read as second, minute, hour, day of month, month, so that "0 3 * * *" would
run every hour; what is sent has six. And a recurring run has no time zone of its own, neither as a field nor
as a CRON_TZ= or TZ= prefix, which is refused: the controller computes in the one that the installation's
cronScheduleTimezone names, UTC by default.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from pipeline.cron import (
    Cron,
    CronError,
    load_zone,
    next_fire_times,
    parse_cron,
    translate_offset,
    translate_zone,
)
from pipeline.kubeflow.client import Kubeflow, KubeflowError
from pipeline.kubeflow.switch import delete_recurring_run, set_enabled, switch
from pipeline.kubeflow.upload import PipelineVersion
from schemas.contract import PROGRESS_LOGGER

_DESCRIPTION: Final = re.compile(
    r"made by `dssm schedule kubeflow`; cron '(?P<cron>[^']*)' in (?P<zone>\S+);"
    r" pipeline sha256:(?P<spec>[0-9a-f]{64}); definition sha256:(?P<definition>[0-9a-f]{64})"
)

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class ScheduleRequest:
    """What a recurring run shall be."""

    name: str
    """What it is called; one of the name is kept."""
    experiment: str
    """Name of the experiment that its runs belong to."""
    cron: str
    """The expression in six fields, in the cluster's time zone."""
    cluster_timezone: str
    """The time zone that the cluster's schedule controller computes in."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Run parameters that differ from the defaults."""
    max_concurrency: int = 1
    """How many of its runs may go on at once."""
    catchup: bool = False
    """Whether runs missed while it was paused are made up for, one each."""
    pipeline_root: str | None = None
    """URI under which the artifacts are kept; None for the installation's own."""
    service_account: str | None = None
    """Kubernetes service account of the pods; None for the installation's own."""


@dataclass(frozen=True)
class Schedule:
    """A recurring run of ours on an endpoint."""

    schedule_id: str
    """Its id."""
    name: str
    """What it is called."""
    enabled: bool
    """Whether it starts runs."""
    definition: str
    """Hash of everything that it was made from."""
    cron: str
    """The expression in six fields."""
    timezone: str
    """The time zone that it is in."""
    pipeline_sha256: str
    """Hash of the pipeline that it runs."""


def make_cluster_cron(text: str, timezone: str, cluster_timezone: str, now: datetime) -> Cron:
    """Write an expression as the cluster's schedule controller must be told.

    Args:
        text: The expression, of five or six fields.
        timezone: The time zone that it is meant in.
        cluster_timezone: The time zone that the controller computes in.
        now: The present.

    Returns:
        The expression in the cluster's time zone.

    Raises:
        CronError: It is wrong, or no expression in the cluster's time zone fires at the same moments.
    """
    cron = parse_cron(text)
    zones = load_zone(timezone), load_zone(cluster_timezone)
    translated = translate_zone(cron, *zones, now)
    if translated is None:
        at_present = translate_offset(cron, *zones, now)
        example = f" (at present {at_present.six_fields!r})" if at_present else ""
        raise CronError(
            f"--timezone {timezone}: Kubeflow Pipelines knows no time zone per schedule; its controller"
            f" computes in {cluster_timezone}, and no single cron there fires at the moments of {text!r} in"
            f" {timezone} all year. Write --cron in {cluster_timezone}{example} and leave --timezone out, or"
            f" set cronScheduleTimezone of the installation to {timezone} and give"
            f" --cluster-timezone {timezone}."
        )
    return translated


def apply_schedule(
    kubeflow: Kubeflow, version: PipelineVersion, request: ScheduleRequest, sha256: str
) -> Schedule:
    """Make the endpoint hold exactly the schedule that is asked for, enabled.

    Args:
        kubeflow: The endpoint.
        version: What it runs; stays pinned.
        request: What the schedule shall be.
        sha256: Hash of the compiled pipeline.

    Returns:
        The schedule.

    Raises:
        KubeflowError: A call failed. Exactly one schedule of the name is enabled then, unless the message
            says otherwise; the same call again finishes the change.
    """
    what = f"the schedule {request.name}"
    definition = _hash_definition(version, request)
    existing = _find_named(kubeflow, request.name)
    kept = next((found for found in existing if found.enabled and found.definition == definition), None)
    if kept is not None and len(existing) == 1:
        _progress.info("Schedule %s is as asked for: nothing to do", request.name)
        return kept

    if kept is None:
        kept = _enable(kubeflow, version, request, sha256, definition, existing)
    old = [found for found in existing if found.schedule_id != kept.schedule_id]
    try:
        for found in old:
            delete_recurring_run(kubeflow, what, found.schedule_id)
    except KubeflowError as error:
        raise KubeflowError(
            f"{error} (the one asked for is enabled, and an older one still listed: run the command again)",
            error.status,
        ) from None
    _settle_with_rivals(kubeflow, kept)
    _progress.info("Schedule %s is set%s", request.name, f", {len(old)} replaced" if old else "")
    return kept


def list_schedules(kubeflow: Kubeflow) -> list[Schedule]:
    """List the recurring runs that were made here.

    Args:
        kubeflow: The endpoint.

    Returns:
        Ours, of all pages.

    Raises:
        KubeflowError: A call failed.
    """
    return [found for _, found in _list_with_foreign(kubeflow) if found is not None]


def pick_schedules(schedules: Sequence[Schedule], name: str | None) -> list[Schedule]:
    """Choose the schedule that a command is for.

    Args:
        schedules: All of ours.
        name: Its name; None where there is only one.

    Returns:
        Those of the name: one, or more after a change that did not finish; none where there is none.

    Raises:
        KubeflowError: There is more than one name to choose from.
    """
    names = sorted({found.name for found in schedules})
    if name is None and len(names) > 1:
        raise KubeflowError(f"Expected --name, since there are several schedules: {', '.join(names)}.")
    return [found for found in schedules if name in (None, found.name)]


def check_is_finished(schedules: Sequence[Schedule]) -> None:
    """Refuse schedules of which a change has left none enabled, or several.

    Args:
        schedules: Ours.

    Raises:
        KubeflowError: There are several of one name, and not just one of them is enabled.
    """
    for name in sorted({found.name for found in schedules}):
        versions = [found for found in schedules if found.name == name]
        enabled = sum(found.enabled for found in versions)
        if len(versions) > 1 and enabled != 1:
            raise KubeflowError(
                f"{name}: a change did not finish: of its {len(versions)} versions {enabled or 'none'}"
                f" {'are' if enabled else 'is'} enabled. Run `dssm schedule kubeflow create` again."
            )


def pause_schedule(kubeflow: Kubeflow, schedules: Sequence[Schedule]) -> None:
    """Stop schedules from starting runs; runs that go on are left alone.

    Args:
        kubeflow: The endpoint.
        schedules: What to pause.

    Raises:
        KubeflowError: A call failed.
    """
    for found in schedules:
        if found.enabled:
            set_enabled(kubeflow, f"the schedule {found.name}", found.schedule_id, False)


def resume_schedule(kubeflow: Kubeflow, schedules: Sequence[Schedule]) -> None:
    """Let a schedule start runs again.

    Args:
        kubeflow: The endpoint.
        schedules: The schedule; more than one entry if a change of it did not finish.

    Raises:
        KubeflowError: A call failed, or it is not clear which one to resume.
    """
    if any(found.enabled for found in schedules):
        return
    check_is_finished(schedules)
    for found in schedules:
        set_enabled(kubeflow, f"the schedule {found.name}", found.schedule_id, True)


def remove_schedule(kubeflow: Kubeflow, schedules: Sequence[Schedule]) -> None:
    """Delete schedules; runs that go on are left alone.

    Args:
        kubeflow: The endpoint.
        schedules: What to delete; those that are gone already are fine.

    Raises:
        KubeflowError: A call failed.
    """
    for found in schedules:
        delete_recurring_run(kubeflow, f"the schedule {found.name}", found.schedule_id)


def render_fire_times(
    cron: str, timezone: str, shown_timezone: str, now: datetime, count: int = 5
) -> list[str]:
    """Write when a schedule fires next.

    Args:
        cron: The expression.
        timezone: The time zone that it is in.
        shown_timezone: The time zone to show the times in.
        now: The present.
        count: How many times.

    Returns:
        One text per time.
    """
    times = next_fire_times(parse_cron(cron), now.astimezone(load_zone(timezone)), count)
    shown = load_zone(shown_timezone)
    return [f"{moment.astimezone(shown):%a %Y-%m-%d %H:%M:%S %Z}" for moment in times]


def _hash_definition(version: PipelineVersion, request: ScheduleRequest) -> str:
    content = json.dumps({"version": asdict(version), "request": asdict(request)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _list_with_foreign(kubeflow: Kubeflow) -> list[tuple[str, Schedule | None]]:
    recurring = kubeflow.list_all(
        "list the recurring runs",
        "recurring_runs",
        kubeflow.client.list_recurring_runs,
        namespace=kubeflow.namespace,
    )
    return [(found.display_name or "", _read_schedule(found)) for found in recurring]


def _read_schedule(recurring: Any) -> Schedule | None:
    match = _DESCRIPTION.search(recurring.description or "")
    if match is None:
        return None
    return Schedule(
        schedule_id=recurring.recurring_run_id,
        name=recurring.display_name,
        enabled=(recurring.mode or recurring.status) in ("ENABLE", "ENABLED"),
        definition=match["definition"],
        cron=match["cron"],
        timezone=match["zone"],
        pipeline_sha256=match["spec"],
    )


def _find_named(kubeflow: Kubeflow, name: str) -> list[Schedule]:
    found = [schedule for other, schedule in _list_with_foreign(kubeflow) if other == name]
    if None in found:
        raise KubeflowError(
            f"There is a recurring run {name!r} that `dssm schedule` did not make: give another --name, or"
            " delete it."
        )
    return [schedule for schedule in found if schedule is not None]


def _create_disabled(
    kubeflow: Kubeflow, version: PipelineVersion, request: ScheduleRequest, sha256: str, definition: str
) -> Schedule:
    from pipeline.kubeflow.submit import find_experiment

    created = kubeflow.call(
        f"create the schedule {request.name}",
        kubeflow.client.create_recurring_run,
        experiment_id=find_experiment(kubeflow, request.experiment),
        job_name=request.name,
        description=(
            f"made by `dssm schedule kubeflow`; cron '{request.cron}' in {request.cluster_timezone};"
            f" pipeline sha256:{sha256}; definition sha256:{definition}"
        ),
        cron_expression=request.cron,
        max_concurrency=request.max_concurrency,
        no_catchup=not request.catchup,
        params=request.parameters,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        enabled=False,
        pipeline_root=request.pipeline_root,
        service_account=request.service_account,
    )
    return Schedule(
        schedule_id=created.recurring_run_id,
        name=request.name,
        enabled=False,
        definition=definition,
        cron=request.cron,
        timezone=request.cluster_timezone,
        pipeline_sha256=sha256,
    )


def _enable(
    kubeflow: Kubeflow,
    version: PipelineVersion,
    request: ScheduleRequest,
    sha256: str,
    definition: str,
    existing: Sequence[Schedule],
) -> Schedule:
    """Enable what is asked for in the place of what is enabled."""
    what = f"the schedule {request.name}"
    if len(existing) == 1 and existing[0].definition == definition:
        paused = existing[0]
        switch(kubeflow, what, new=paused.schedule_id, enabled=())
        return paused
    created = _create_disabled(kubeflow, version, request, sha256, definition)
    # Before anything is switched: one that is half deleted can only be deleted, and would stop the switch.
    for found in existing:
        if not found.enabled:
            delete_recurring_run(kubeflow, what, found.schedule_id)
    enabled = [found.schedule_id for found in existing if found.enabled]
    switch(kubeflow, what, new=created.schedule_id, enabled=enabled)
    return created


def _settle_with_rivals(kubeflow: Kubeflow, own: Schedule) -> None:
    """Leave one enabled where somebody else set the same schedule meanwhile: the same one, whoever looks."""
    enabled = [found for found in _find_named(kubeflow, own.name) if found.enabled]
    if len(enabled) < 2:
        return
    winner = min(found.schedule_id for found in enabled)
    for found in enabled:
        if found.schedule_id != winner:
            delete_recurring_run(kubeflow, f"the schedule {own.name}", found.schedule_id)
    if winner != own.schedule_id:
        raise KubeflowError(
            f"Somebody else set the schedule {own.name} at the same time, and theirs is kept: look with"
            " `dssm schedule kubeflow status`, and run the command again if yours was meant."
        )
