import json
import logging
import os
import sys
import time
from pathlib import Path

import pytest

from pipeline.retraining.config import NotifyConfig
from pipeline.retraining.notify import Event, find_event_kind, notify, redact

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[4]
EVENT = Event(
    kind="failure",
    pipeline="shop",
    body="TrainingError: the loss is not finite.\nStep 40.",
    run_id="20261128T120000.000000Z",
)
# What the command or the service was given.
KEEP_MESSAGE = (
    "import json, os, sys; message = json.load(sys.stdin); "
    "names = [name for name in os.environ if name.startswith('DSSM_')]; "
    "open(sys.argv[1], 'a').write(json.dumps([message, {name: os.environ[name] for name in names}]) + '\\n')"
)
# Fails as often as its second argument says.
FAIL_AT_FIRST = (
    "import sys; from pathlib import Path; calls = Path(sys.argv[1]); "
    "number = len(calls.read_text()) if calls.exists() else 0; calls.write_text('x' * (number + 1)); "
    "print('busy'); print('try later', file=sys.stderr); sys.exit(3 if number < int(sys.argv[2]) else 0)"
)


def call(program, *arguments):
    return (sys.executable, "-c", program, *map(str, arguments))


@pytest.fixture
def waits():
    """Seconds that were waited, by nobody."""
    return []


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("DSSM_NOTIFY_URLS", "DSSM_LAST_RUN"):
        monkeypatch.delenv(name, raising=False)


def test_a_command_reads_the_message_and_has_variables(tmp_path):
    config = NotifyConfig(command=call(KEEP_MESSAGE, tmp_path / "said"))
    [delivery] = notify(config, EVENT)
    assert (delivery.receiver, delivery.attempts, delivery.error) == ("retraining.notify.command", 1, None)
    message, variables = json.loads((tmp_path / "said").read_text())
    assert message == {
        "kind": "failure",
        "title": "shop: the retraining failed",
        "body": "TrainingError: the loss is not finite.\nStep 40.",
        "pipeline": "shop",
        "run_id": "20261128T120000.000000Z",
        "release": None,
    }
    assert variables == {
        "DSSM_EVENT": "failure",
        "DSSM_TITLE": "shop: the retraining failed",
        "DSSM_PIPELINE": "shop",
        "DSSM_RUN_ID": "20261128T120000.000000Z",
        "DSSM_RELEASE": "",
    }


def test_a_release_is_named(tmp_path):
    config = NotifyConfig(command=call(KEEP_MESSAGE, tmp_path / "said"))
    notify(config, Event("recovery", "shop", "", "r", 7))
    message, variables = json.loads((tmp_path / "said").read_text())
    assert (message["release"], variables["DSSM_RELEASE"]) == (7, "7")


@pytest.mark.parametrize(
    ("on", "told"),
    [
        (("failure", "refused", "recovery"), {"failure", "refused", "recovery"}),
        (("failure",), {"failure"}),
        # Who hears of every release hears of the one after a failure, too.
        (("released",), {"released", "recovery"}),
        ((), set()),
    ],
)
def test_only_what_is_wanted_is_told(tmp_path, on, told):
    config = NotifyConfig(on=on, command=("true",))
    kinds = ("failure", "refused", "recovery", "released")
    assert {kind for kind in kinds if notify(config, Event(kind, "shop", "b"))} == told


def test_nobody_is_to_be_told():
    assert notify(NotifyConfig(), EVENT) == ()


def test_it_is_tried_again_after_ever_longer_waits(tmp_path, waits, caplog):
    config = NotifyConfig(command=call(FAIL_AT_FIRST, tmp_path / "calls", 2))
    [delivery] = notify(config, EVENT, sleep=waits.append)
    assert (delivery.attempts, delivery.error, waits) == (3, None, [1.0, 4.0])
    assert caplog.text == ""


def test_one_that_cannot_be_told_is_a_warning(tmp_path, waits, caplog):
    config = NotifyConfig(command=call(FAIL_AT_FIRST, tmp_path / "calls", 99), attempts=7)
    [delivery] = notify(config, EVENT, sleep=waits.append)
    assert (delivery.attempts, delivery.error) == (7, "exit status 3: try later")
    assert waits == [1.0, 4.0, 16.0, 60.0, 60.0, 60.0]
    assert (tmp_path / "calls").read_text() == "x" * 7
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "Cannot notify retraining.notify.command of 'shop: the retraining failed' (7 attempts): "
        "exit status 3: try later"
    )


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path, waits):
    # The shell's child keeps the shell's output open.
    config = NotifyConfig(
        command=("sh", "-c", f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait"),
        attempts=1,
        timeout_seconds=2.0,
    )
    start = time.monotonic()
    [delivery] = notify(config, EVENT, sleep=waits.append)
    assert delivery.error == "no end within 2 s"
    assert time.monotonic() - start < 60
    child = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    deadline = time.monotonic() + 60
    while child.exists() and child.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_that_is_not_there_is_named(waits):
    [delivery] = notify(
        NotifyConfig(command=("no-such-program", "-x"), attempts=2), EVENT, sleep=waits.append
    )
    assert delivery.error == "cannot start no-such-program: No such file or directory"


def test_a_command_need_not_read_the_message():
    event = Event("failure", "s" * 1_000_000, "b" * 1_000_000)
    [delivery] = notify(NotifyConfig(command=("true",)), event)
    assert delivery.error is None


# Of apprise, what a service is told with, at its most talkative: it fails with the URL that it was given.
APPRISE_THAT_TELLS_ALL = """
import logging
from pathlib import Path

class Apprise:
    def add(self, url):
        self.url = url
        return "known" in url

    def notify(self, title, body, notify_type):
        calls = Path(__file__).with_name("calls")
        with calls.open("a") as file:
            file.write(f"{self.url} {notify_type} {title}\\n")
        if "works" in self.url:
            return True
        logging.getLogger("apprise").warning("POST to %s", self.url)
        if "raises" in self.url:
            raise ValueError(f"p@ss:w0rd refused at {self.url.upper()}")
        return False
"""


@pytest.fixture
def talkative(tmp_path):
    """The variables with which the service finds the apprise above."""
    (tmp_path / "apprise.py").write_text(APPRISE_THAT_TELLS_ALL)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    def give(*urls):
        return {**os.environ, "PYTHONPATH": path, "CHAT_URLS": "\n".join(urls)}

    return give


def test_each_url_is_a_service_of_its_own(tmp_path, talkative, waits):
    config = NotifyConfig(urls_env="CHAT_URLS", attempts=2)
    urls = ("json://works-known-1", "json://fails-known-2", "xml://works-known-3", "nothing")
    deliveries = notify(config, EVENT, environment=talkative(*urls), sleep=waits.append)
    assert [(delivery.receiver, delivery.attempts) for delivery in deliveries] == [
        ("json (URL 1 of 4)", 1), ("json (URL 2 of 4)", 2), ("xml (URL 3 of 4)", 1), ("URL 4 of 4", 2),
    ]  # fmt: skip
    assert [delivery.error is None for delivery in deliveries] == [True, False, True, False]
    # The service that was told is not told again for the sake of the one that was not.
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [urls[0], urls[1], urls[1], urls[2]]
    assert (tmp_path / "calls").read_text().splitlines()[0].endswith(" failure shop: the retraining failed")
    assert deliveries[3].error.startswith("exit status 1: apprise does not know such a URL")


@pytest.mark.parametrize("how", ["fails", "raises"])
def test_no_secret_is_in_a_log_or_a_message(talkative, waits, caplog, capfd, how):
    caplog.set_level(logging.DEBUG)
    url = f"slack://{how}-known:p%40ss%3Aw0rd@Token-A/T0KENB?key=hidden"
    config = NotifyConfig(urls_env="CHAT_URLS", attempts=2)
    [delivery] = notify(config, EVENT, environment=talkative(url), sleep=waits.append)
    screen = "".join(capfd.readouterr())
    assert "Cannot notify slack (URL 1 of 1)" in caplog.text
    assert "***" in delivery.error
    for text in (repr(delivery), caplog.text, screen):
        for secret in ("p%40ss", "p@ss", "w0rd", "Token-A", "TOKEN-A", "T0KENB", "hidden", "HIDDEN"):
            assert secret not in text


def test_what_is_redacted():
    urls = ["mailto://user:p%2Fw%20d@example.org:587?to=me", "tgram://123:AB_c/77"]
    assert redact("cannot reach example.org as user with P/W D", urls) == "cannot reach *** as *** with ***"
    assert redact("bot 123 AB_C has no chat 77", urls) == "bot *** *** has no chat 77"
    assert redact(f"at {urls[0]}", urls) == "at mailto://***"
    assert redact("nothing of it", []) == "nothing of it"


@pytest.mark.parametrize(
    ("status", "earlier", "kind"),
    [
        ("released", [], "released"),
        ("released", ["released", "failed"], "released"),
        ("released", ["failed", "released"], "recovery"),
        ("released", ["not blessed"], "recovery"),
        ("released", ["interrupted"], "recovery"),
        ("released", ["running", "failed"], "recovery"),
        ("released", ["running", "released", "failed"], "released"),
        ("not blessed", ["released"], "refused"),
        ("not blessed", ["failed"], "refused"),
        ("failed", [], "failure"),
        ("interrupted", ["failed"], "failure"),
        ("running", ["failed"], None),
    ],
)
def test_what_the_end_of_a_run_means(status, earlier, kind):
    assert find_event_kind(status, earlier) == kind
