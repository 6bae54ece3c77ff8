"""`dssm retrain` on this machine's own scheduler: a systemd user timer, or a line of the user's crontab."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pipeline.cron import Cron, CronError
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DssmError

SchedulerName = Literal["systemd", "crontab"]

_DAY_NAMES: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CALL_TIMEOUT_SECONDS: Final = 30
# systemd leaves sections of such a name alone.
_OWN_SECTION: Final = "X-Dssm"

_progress = logging.getLogger(PROGRESS_LOGGER)


class LocalScheduleError(DssmError):
    """The machine's scheduler cannot be used, or refused what it was told."""


@dataclass(frozen=True)
class Job:
    """A command that runs at certain times."""

    name: str
    """What the schedule is called: letters, digits, `.`, `_` and `-`."""
    cron: Cron
    """When it runs, in the machine's time zone."""
    command: tuple[str, ...]
    """The program, by its absolute path, and its arguments."""
    directory: Path
    """The working directory, absolute."""
    log_file: Path
    """Where its output goes under cron; systemd has its journal."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if any("\n" in text for text in (*self.command, str(self.directory), str(self.log_file))):
            raise LocalScheduleError("A scheduled command cannot hold a line break.")


def check_name(name: str) -> None:
    """Check what a schedule is called.

    Args:
        name: The name.

    Raises:
        LocalScheduleError: It cannot be part of a file name.
    """
    if not _NAME.fullmatch(name):
        raise LocalScheduleError(
            f"--name: expected letters, digits, '.', '_' and '-', 64 at most. Received: {name!r}."
        )


def find_program() -> str:
    """Find the `dssm` that runs now.

    Returns:
        Its absolute path.

    Raises:
        LocalScheduleError: It is neither beside the Python that runs nor on the PATH.
    """
    beside = Path(sys.executable).with_name("dssm")
    program = str(beside) if beside.is_file() else shutil.which("dssm")
    if program is None:
        raise LocalScheduleError("Cannot find the program dssm: install the package, or put it on the PATH.")
    return str(Path(program).absolute())


def find_scheduler() -> SchedulerName:
    """Find out what schedules commands on this machine.

    Returns:
        systemd where the user has a running manager, otherwise crontab.

    Raises:
        LocalScheduleError: There is neither.
    """
    if has_systemd():
        return "systemd"
    if shutil.which("crontab"):
        return "crontab"
    raise LocalScheduleError(
        "This machine has no scheduler for users: expected a systemd user manager (`systemctl --user`) or"
        " crontab. Install cron, or log in with a session of systemd; --print shows the units."
    )


def has_systemd() -> bool:
    """Tell whether the user has a running systemd manager.

    Returns:
        Whether `systemctl --user` answers.
    """
    return bool(shutil.which("systemctl")) and _call(["systemctl", "--user", "show-environment"])[0] == 0


def render_calendars(cron: Cron) -> list[str]:
    """Write an expression as systemd's OnCalendar.

    Args:
        cron: The expression.

    Returns:
        One text, or two where cron takes a day that matches the day of month or the day of week: the times
        of several OnCalendar add up, and a time that is in both fires once.
    """
    time = ":".join(
        "*" if field.full else ",".join(f"{value:02d}" for value in sorted(field.values))
        for field in (cron.hour, cron.minute, cron.second)
    )
    month = "*" if cron.month.full else ",".join(f"{value:02d}" for value in sorted(cron.month.values))
    day = (
        "*"
        if cron.day_of_month.full
        else ",".join(f"{value:02d}" for value in sorted(cron.day_of_month.values))
    )
    weekdays = ",".join(_DAY_NAMES[value] for value in sorted(cron.day_of_week.values))
    on_weekdays = "" if cron.day_of_week.full else f"{weekdays} "
    if not cron.either_day:
        return [f"{on_weekdays}*-{month}-{day} {time}"]
    if cron.day_of_month.full or cron.day_of_week.full:
        return [f"*-{month}-* {time}"]
    return [f"*-{month}-{day} {time}", f"{on_weekdays}*-{month}-* {time}"]


def render_units(job: Job) -> dict[str, str]:
    """Write the units of a job.

    Args:
        job: The job.

    Returns:
        The text of the service and of the timer by file name.
    """
    unit = _unit_name(job.name)
    command = " ".join(_quote_for_systemd(text) for text in job.command)
    calendars = "\n".join(f"OnCalendar={calendar}" for calendar in render_calendars(job.cron))
    service = f"""\
[Unit]
Description=dssm retrain, scheduled as {job.name}

[Service]
Type=oneshot
WorkingDirectory={str(job.directory).replace("%", "%%")}
ExecStart={command}
"""
    timer = f"""\
[Unit]
Description=When dssm retrain, scheduled as {job.name}, starts

[Timer]
{calendars}
AccuracySec=1s

[Install]
WantedBy=timers.target

[{_OWN_SECTION}]
Cron={job.cron.six_fields}
"""
    return {f"{unit}.service": service, f"{unit}.timer": timer}


def render_crontab_line(job: Job) -> str:
    """Write the crontab line of a job.

    Args:
        job: The job.

    Returns:
        The line, which ends in the mark that it is found by again.

    Raises:
        CronError: The expression has seconds, which crontab does not know.
    """
    if job.cron.second.values != {0}:
        raise CronError("crontab knows no seconds: expected --cron of five fields.")
    command = (
        f"cd {shlex.quote(str(job.directory))} && {shlex.join(job.command)}"
        f" >> {shlex.quote(str(job.log_file))} 2>&1"
    )
    # cron itself, before any shell, takes a bare % as a line break.
    return f"{job.cron.five_fields} {command.replace('%', chr(92) + '%')} {_mark(job.name)}"


def install(job: Job, scheduler: SchedulerName) -> None:
    """Put a job on the scheduler, in the place of what was there under its name.

    Args:
        job: The job.
        scheduler: Which scheduler.

    Raises:
        LocalScheduleError: The scheduler refused it.
    """
    if scheduler == "systemd":
        _install_units(job)
        if shutil.which("crontab"):
            _remove_crontab_line(job.name)
    else:
        line = render_crontab_line(job)
        job.log_file.parent.mkdir(parents=True, exist_ok=True)
        before = _read_crontab()
        _write_crontab(_replace_line(before, job.name, line), before)
        if _unit_files(job.name):
            _remove_units(job.name)


def remove(name: str) -> bool:
    """Take a job off whatever scheduler has it.

    Args:
        name: What it is called.

    Returns:
        Whether there was one.

    Raises:
        LocalScheduleError: The scheduler refused.
    """
    check_name(name)
    had_units = bool(_unit_files(name))
    if had_units:
        _remove_units(name)
    had_line = bool(shutil.which("crontab")) and _remove_crontab_line(name)
    return had_units or had_line


def describe(name: str) -> str:
    """Say what the schedulers hold of a job.

    Args:
        name: What it is called.

    Returns:
        Text for the user; '' where there is nothing.

    Raises:
        LocalScheduleError: A scheduler does not answer.
    """
    check_name(name)
    parts = []
    for file in _unit_files(name):
        parts.append(f"# {file}\n{file.read_text(encoding='utf-8')}")
    if parts:
        timer = f"{_unit_name(name)}.timer"
        code, output = _call(["systemctl", "--user", "--no-pager", "list-timers", "--all", timer])
        parts.append(output if code == 0 else f"systemd does not answer: {output}")
    if shutil.which("crontab"):
        lines = [line for line in _read_crontab().splitlines() if _is_ours(line, name)]
        parts += [line.decode("utf-8", "replace") for line in lines]
    return "\n".join(part.rstrip() for part in parts)


def find_cron(name: str) -> str | None:
    """Find out when a job runs.

    Args:
        name: What it is called.

    Returns:
        Its cron expression, of five fields or of six with seconds first; None where nothing has the name.

    Raises:
        LocalScheduleError: The crontab cannot be read.
    """
    check_name(name)
    for file in _unit_files(name):
        found = re.search(rf"^\[{_OWN_SECTION}\]\nCron=(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        if found is not None:
            return found[1]
    if shutil.which("crontab"):
        for line in _read_crontab().splitlines():
            if _is_ours(line, name):
                return " ".join(line.decode("utf-8", "replace").split()[:5])
    return None


def _unit_name(name: str) -> str:
    return f"dssm-{name}"


def _mark(name: str) -> str:
    return f"# dssm-schedule={name}"


def _unit_directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user"


def _unit_files(name: str) -> list[Path]:
    files = [_unit_directory() / f"{_unit_name(name)}.{kind}" for kind in ("service", "timer")]
    return [file for file in files if file.is_file()]


def _quote_for_systemd(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./=:@%+,$-]", escaped) or not text else escaped


def _install_units(job: Job) -> None:
    for calendar in render_calendars(job.cron):
        if shutil.which("systemd-analyze"):
            code, output = _call(["systemd-analyze", "calendar", calendar])
            if code != 0:
                raise LocalScheduleError(f"systemd does not take OnCalendar={calendar}: {output}")
    directory = _unit_directory()
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in render_units(job).items():
        temporary = directory / f".{name}.new"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(directory / name)
    timer = f"{_unit_name(job.name)}.timer"
    _systemctl("daemon-reload")
    _systemctl("enable", timer)
    # A running timer keeps its old times until it is started again.
    _systemctl("restart", timer)


def _remove_units(name: str) -> None:
    if has_systemd():
        _systemctl("disable", "--now", f"{_unit_name(name)}.timer")
    for file in _unit_files(name):
        file.unlink()
    if has_systemd():
        _systemctl("daemon-reload")


def _systemctl(*arguments: str) -> None:
    code, output = _call(["systemctl", "--user", *arguments])
    if code != 0:
        raise LocalScheduleError(f"systemctl --user {' '.join(arguments)} failed: {output}")


def _is_ours(line: bytes, name: str) -> bool:
    return line.rstrip().endswith(b" " + _mark(name).encode()) and not line.lstrip().startswith(b"#")


def _replace_line(crontab: bytes, name: str, new: str | None) -> bytes:
    lines = crontab.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if _is_ours(line, name)]
    for index in reversed(places):
        del lines[index]
    if new is not None:
        place = places[0] if places else len(lines)
        if place and not lines[place - 1].endswith(b"\n"):
            lines[place - 1] += b"\n"
        lines.insert(place, new.encode() + b"\n")
    return b"".join(lines)


def _remove_crontab_line(name: str) -> bool:
    before = _read_crontab()
    return _write_crontab(_replace_line(before, name, None), before)


def _read_crontab() -> bytes:
    result = _start(["crontab", "-l"])
    if result.returncode == 0:
        return result.stdout
    message = result.stderr.decode("utf-8", "replace")
    # Anything else than that there is none yet must not be written over.
    if re.search(r"no crontab for|can't open '[^/']+': No such file", message):
        return b""
    raise LocalScheduleError(f"crontab -l failed: {' '.join(message.split())}")


def _write_crontab(crontab: bytes, before: bytes) -> bool:
    if crontab == before:
        return False
    result = _start(["crontab", "-"], crontab)
    if result.returncode != 0:
        message = " ".join(result.stderr.decode("utf-8", "replace").split())
        raise LocalScheduleError(f"crontab refused the new table, the old one stays: {message}")
    return True


def _call(command: Sequence[str]) -> tuple[int, str]:
    result = _start(command)
    output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
    return result.returncode, output


def _start(command: Sequence[str], text: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    # Messages are compared, so they must not be translated.
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            env=environment,
            timeout=_CALL_TIMEOUT_SECONDS,
            check=False,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LocalScheduleError(f"{command[0]} does not work: {error}") from None
