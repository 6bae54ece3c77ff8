"""The machine's schedulers are programs on the PATH; here they are small ones that keep files."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.cron import next_fire_times, parse_cron
from pipeline.local_schedule import (
    Job,
    LocalScheduleError,
    render_calendars,
    render_crontab_line,
    render_units,
)

pytestmark = pytest.mark.unit

CRONTAB = """\
#!/bin/sh
table="$FAKE_STATE/crontab"
echo "crontab $*" >> "$FAKE_STATE/calls"
if [ -e "$FAKE_STATE/crontab-broken" ]; then echo "crontab: permission denied" >&2; exit 1; fi
case "$1" in
  -l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for me" >&2; exit 1; fi ;;
  -) cat > "$table.new" && mv "$table.new" "$table" ;;
  *) exit 2 ;;
esac
"""
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> "$FAKE_STATE/calls"
[ -e "$FAKE_STATE/no-bus" ] && { echo "Failed to connect to bus" >&2; exit 1; }
case "$*" in *restart*) [ -e "$FAKE_STATE/refuses" ] && { echo "Unit is masked." >&2; exit 1; } ;; esac
exit 0
"""
# Bytes that a rewrite would change: no UTF-8, tabs, trailing blanks, an empty line, a look-alike.
OTHERS = b"MAILTO=me\n\n# note \xe9\t \n*/5 * * * *\t/bin/true  \n0 1 * * * /bin/x # dssm-schedule=other\n"


class Machine:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.programs = directory / "bin"
        self.state = directory / "state"
        self.work = directory / "work"
        for folder in (self.programs, self.state, self.work):
            folder.mkdir()
        for name in ("sh", "cat", "mv"):
            (self.programs / name).symlink_to(shutil.which(name) or f"/bin/{name}")
        # As in a virtual environment: dssm lies beside the Python that runs.
        self.add("dssm", "#!/bin/sh\n")
        monkeypatch.setattr(sys, "executable", str(self.programs / "python"))
        monkeypatch.setenv("PATH", str(self.programs))
        monkeypatch.setenv("FAKE_STATE", str(self.state))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        monkeypatch.setenv("HOME", str(directory))
        monkeypatch.chdir(self.work)

    def add(self, name: str, text: str) -> None:
        program = self.programs / name
        program.write_text(text, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def dssm(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["schedule", "local", *arguments])

    @property
    def crontab(self) -> Path:
        return self.state / "crontab"

    @property
    def units(self) -> Path:
        return self.directory / "config" / "systemd" / "user"

    def calls(self) -> list[str]:
        file = self.state / "calls"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def with_cron(machine: Machine) -> Machine:
    machine.add("crontab", CRONTAB)
    return machine


@pytest.fixture
def with_systemd(machine: Machine) -> Machine:
    machine.add("systemctl", SYSTEMCTL)
    return machine


def make_job(cron: str, *arguments: str, directory: Path = Path("/srv/a b")) -> Job:
    return Job(
        name="nightly",
        cron=parse_cron(cron),
        command=("/opt/my env/bin/dssm", "run", *arguments),
        directory=directory,
        log_file=Path("/srv/a b/runs/100%.log"),
    )


# crontab


def test_a_line_is_added_replaced_and_removed_and_nothing_else_changes(with_cron: Machine) -> None:
    with_cron.crontab.write_bytes(OTHERS)
    result = with_cron.dssm("--cron", "0 3 * * *", "--set", "training.epochs=2", "--name", "nightly")
    assert result.exit_code == 0, result.output
    first = with_cron.crontab.read_bytes()
    assert first.startswith(OTHERS)
    line = first[len(OTHERS) :].decode()
    assert line.startswith("0 3 * * * cd ")
    assert line.endswith(" # dssm-schedule=nightly\n")
    assert f"{with_cron.programs}/dssm retrain --config /" in line
    assert "--set training.epochs=2" in line
    assert line.strip() in result.output

    added = first + b"30 2 * * * /bin/false\n"
    with_cron.crontab.write_bytes(added)
    with_cron.dssm("--cron", "0 4 * * 1", "--name", "nightly")
    second = with_cron.crontab.read_bytes()
    assert second.startswith(OTHERS)
    assert second.endswith(b"# dssm-schedule=nightly\n30 2 * * * /bin/false\n")
    assert second.count(b"dssm-schedule=nightly") == 1
    assert b"\n0 4 * * 1 cd " in second

    assert "0 4 * * 1" in with_cron.dssm("status", "--name", "nightly").output
    for _ in range(2):
        assert with_cron.dssm("remove", "--name", "nightly").exit_code == 0
    assert with_cron.crontab.read_bytes() == OTHERS + b"30 2 * * * /bin/false\n"
    assert "No schedule" in with_cron.dssm("status", "--name", "nightly").output


def test_the_first_line_of_a_crontab(with_cron: Machine) -> None:
    assert with_cron.dssm("--cron", "0 3 * * *").exit_code == 0
    assert with_cron.crontab.read_bytes().count(b"\n") == 1


def test_the_same_line_again_writes_nothing(with_cron: Machine) -> None:
    with_cron.dssm("--cron", "0 3 * * *")
    with_cron.dssm("--cron", "0 3 * * *")
    assert with_cron.calls().count("crontab -") == 1


def test_a_last_line_without_an_end_is_not_joined(with_cron: Machine) -> None:
    with_cron.crontab.write_bytes(b"0 1 * * * /bin/true")
    with_cron.dssm("--cron", "0 3 * * *")
    assert with_cron.crontab.read_bytes().startswith(b"0 1 * * * /bin/true\n0 3 * * * cd ")


def test_a_crontab_that_cannot_be_read_is_not_written(with_cron: Machine) -> None:
    with_cron.crontab.write_bytes(OTHERS)
    (with_cron.state / "crontab-broken").touch()
    result = with_cron.dssm("--cron", "0 3 * * *")
    assert result.exit_code == 1
    assert "permission denied" in result.output
    assert "crontab -" not in with_cron.calls()


def test_seconds_are_refused(with_cron: Machine) -> None:
    result = with_cron.dssm("--cron", "30 0 3 * * *")
    assert result.exit_code == 1
    assert "five fields" in result.output
    assert not with_cron.crontab.exists()


def test_cron_runs_the_command_as_it_was_given(tmp_path: Path) -> None:
    program = tmp_path / "it's 100% $HOME" / "dssm"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], os.getcwd()]))\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    arguments = ["run", "--set", "run.name=a b", "--set", "x.y='50% \"$(echo no)\"'", "--set", r"p=\%d"]
    job = Job("n", parse_cron("0 3 * * *"), (str(program), *arguments), program.parent, tmp_path / "l%g")
    line = render_crontab_line(job)
    assert line.startswith("0 3 * * * ")
    # What cron does to the rest of the line: a bare % ends the command, \% is a %.
    command = line.split(" ", 5)[5]
    assert not re.search(r"(?<!\\)%", command)
    subprocess.run(["sh", "-c", command.replace("\\%", "%")], check=True, cwd="/")
    assert json.loads((tmp_path / "l%g").read_text(encoding="utf-8")) == [arguments, str(program.parent)]


# systemd


def test_units_are_installed_replaced_and_removed(with_systemd: Machine) -> None:
    result = with_systemd.dssm("--cron", "0 3 * * 1-5", "--name", "nightly")
    assert result.exit_code == 0, result.output
    service, timer = (with_systemd.units / f"dssm-nightly.{kind}" for kind in ("service", "timer"))
    assert "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00\n" in timer.read_text(encoding="utf-8")
    text = service.read_text(encoding="utf-8")
    assert f"ExecStart={with_systemd.programs}/dssm retrain --config /" in text
    assert f"WorkingDirectory={with_systemd.work}\n" in text
    assert text in result.output
    # Shown before anything was changed.
    assert result.output.index("OnCalendar") < result.output.index("Installed")
    assert with_systemd.calls()[-3:] == [
        "--user daemon-reload", "--user enable dssm-nightly.timer", "--user restart dssm-nightly.timer",
    ]  # fmt: skip

    with_systemd.dssm("--cron", "0 4 * * *", "--name", "nightly")
    assert timer.read_text(encoding="utf-8").count("OnCalendar") == 1
    assert "OnCalendar=*-*-* 04:00:00" in with_systemd.dssm("status", "--name", "nightly").output

    assert with_systemd.dssm("remove", "--name", "nightly").exit_code == 0
    assert "--user disable --now dssm-nightly.timer" in with_systemd.calls()
    assert list(with_systemd.units.iterdir()) == []
    assert "no schedule" in with_systemd.dssm("remove", "--name", "nightly").output


def test_print_changes_nothing(with_systemd: Machine, with_cron: Machine) -> None:
    for more in ([], ["--scheduler", "crontab"], ["--scheduler", "systemd"]):
        result = with_cron.dssm("--cron", "0 3 * * *", "--print", *more)
        assert result.exit_code == 0, result.output
        assert "retrain --config" in result.output
    assert not with_cron.crontab.exists()
    assert not with_systemd.units.exists()
    assert set(with_systemd.calls()) == {"--user show-environment"}


def test_print_shows_the_next_times(machine: Machine) -> None:
    result = machine.dssm("--cron", "0 3 * * *", "--print")
    assert len(re.findall(r"^  \w{3} \d{4}-\d\d-\d\d 03:00:00", result.output, re.MULTILINE)) == 5


def test_without_a_running_systemd_it_is_crontab(with_systemd: Machine, with_cron: Machine) -> None:
    (with_systemd.state / "no-bus").touch()
    assert "crontab" in with_cron.dssm("--cron", "0 3 * * *").output
    assert with_cron.crontab.exists()
    # Later there is systemd: it takes the schedule over, it must not run twice.
    (with_systemd.state / "no-bus").unlink()
    assert "systemd" in with_cron.dssm("--cron", "0 3 * * *").output
    assert with_cron.crontab.read_bytes() == b""
    assert with_cron.dssm("--cron", "0 3 * * *", "--scheduler", "crontab").exit_code == 0
    assert list(with_systemd.units.iterdir()) == []


def test_a_machine_without_a_scheduler(machine: Machine) -> None:
    result = machine.dssm("--cron", "0 3 * * *")
    assert result.exit_code == 1
    assert "no scheduler" in result.output


def test_what_systemd_says_is_shown(with_systemd: Machine) -> None:
    (with_systemd.state / "refuses").touch()
    result = with_systemd.dssm("--cron", "0 3 * * *")
    assert result.exit_code == 1
    assert "Unit is masked." in result.output


def test_wrong_arguments_change_nothing(with_cron: Machine) -> None:
    for arguments, expected in [
        (["--cron", "0 25 * * *"], "hour"),
        (["--cron", "0 3 * * *", "--name", "../x"], "--name"),
        (["--cron", "0 3 * * *", "--set", "training.epoch=1"], "epochs"),
        (["--cron", "0 3 * * *", "--config", "none.yaml"], "none.yaml"),
        (["remove", "--name", "a/b"], "--name"),
    ]:
        result = with_cron.dssm(*arguments)
        assert result.exit_code == 1, result.output
        assert expected in result.output
    assert with_cron.calls() == []


def test_quoting_of_units() -> None:
    units = render_units(make_job("0 3 * * *", "--set", 'a="100% $x\\"', directory=Path("/srv/50%")))
    service = units["dssm-nightly.service"]
    expected = r'ExecStart="/opt/my env/bin/dssm" run --set "a=\"100%% $$x\\\""'
    assert expected in service.splitlines()
    assert "WorkingDirectory=/srv/50%%\n" in service


def test_a_line_break_is_refused() -> None:
    with pytest.raises(LocalScheduleError, match="line break"):
        make_job("0 3 * * *", "a\nb")


@pytest.mark.parametrize(
    ("cron", "calendars"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00"]),
        ("*/30 * * * *", ["*-*-* *:00,30:00"]),
        ("0 3 1,15 * *", ["*-*-01,15 03:00:00"]),
        ("0 3 * 1 sun", ["Sun *-01-* 03:00:00"]),
        ("15 0 3 * * *", ["*-*-* 03:00:15"]),
        # cron takes either day, one OnCalendar both.
        ("0 3 13 * 5", ["*-*-13 03:00:00", "Fri *-*-* 03:00:00"]),
        ("0 3 1-31 * 5", ["*-*-* 03:00:00"]),
        ("0 3 */10 * 5", ["Fri *-*-01,11,21,31 03:00:00"]),
    ],
)
def test_calendars(cron: str, calendars: list[str]) -> None:
    assert render_calendars(parse_cron(cron)) == calendars


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    "cron",
    ["0 3 * * *", "*/7 */5 * * *", "0 3 13 * 5", "0 3 */2 * 1", "5 4 29 2 *", "0 0 1 1,7 *", "0 12 * * 0,6"],
)
def test_systemd_agrees_on_the_fire_times(cron: str) -> None:
    parsed = parse_cron(cron)
    found: set[datetime] = set()
    for calendar in render_calendars(parsed):
        output = subprocess.run(
            [
                "systemd-analyze", "calendar", "--iterations=8",
                "--base-time=2026-11-22 17:00:30 UTC", calendar,
            ],
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout  # fmt: skip
        for text in re.findall(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w+ (\S+ \S+) UTC", output):
            found.add(datetime.fromisoformat(text).replace(tzinfo=UTC))
    start = datetime(2026, 11, 22, 17, 0, 30, tzinfo=UTC)
    assert sorted(found)[:8] == next_fire_times(parsed, start, 8)
