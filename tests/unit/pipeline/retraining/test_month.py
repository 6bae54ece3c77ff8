"""A month of retrainings, day by day; logs, locks and manifests are real, a run is what it would leave."""

import datetime
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from components.interaction_ingest.fingerprints import fingerprint_days
from pipeline.config import PipelineConfig
from pipeline.retraining import plan as plan_module
from pipeline.retraining import retrain as retrain_module
from pipeline.retraining.retrain import retrain
from pipeline.runs import Run
from schemas.errors import BusyError, DataError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

SPEC = {
    "name": "shop",
    "tables": {"interactions": {"file": "log/{date}.csv"}},
    "features": [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"}
        | {"encoding": {"kind": "vocabulary"}},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id"}
        | {"encoding": {"kind": "vocabulary"}},
    ],
}
ROWS_A_DAY = 3
CUT_OFF = "a file that is cut off"
# The last three days, and one of them may be missing.
WINDOW = {"last_days": 3, "maximum_missing_days": 1}

MISSING, LATE, LATE_COMES, CORRUPT, KILLED, OFF, REFUSED, ROLLED_BACK = 4, 8, 10, 12, 15, (18, 19, 20), 23, 26
WITHOUT_MODEL = {MISSING, LATE, CORRUPT, *OFF}
# What else than the last three days is trained on, worked out by hand: those that are there. After the pause
# the 18th has left the last three days without ever having been trained on.
OTHER_WINDOWS = {5: (3, 5), 6: (5, 6), 9: (7, 9), 21: (18, 19, 20, 21)}


class KilledError(BaseException):
    """A signal that leaves a process no time for anything."""


def date_of(day: int) -> datetime.date:
    return datetime.date(2025, 4, 1) + datetime.timedelta(days=day - 1)


class Month:
    """A data directory that is written to every day, and a pipeline that notes what it reads of it."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.data, self.serving = folder, folder / "data", folder / "serving"
        self.features = parse(FeatureSpec, SPEC, "test")
        self.today = 0
        self.runs: list[Run] = []
        self.trained: dict[int, Counter[str]] = {}
        self.starts: dict[int, tuple[str, int | None]] = {}
        (self.data / "log").mkdir(parents=True)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr(retrain_module, "read_pipeline_runs", lambda *_: self.runs)
        monkeypatch.setattr(retrain_module, "clean_up", lambda *_: None)

    def config(self) -> PipelineConfig:
        config = {
            "run": {"name": "shop", "directory": str(self.folder / "runs")},
            "data": {"schema": "shop", "directory": str(self.data)},
            "serving": {"directory": str(self.serving)},
            "ingest": {"window": WINDOW},
            "training": {"warm_start": True, "cold_every": 7},
            "retraining": {"compare_with_cold": False},
        }
        return parse(PipelineConfig, config, "test")

    def write(self, day: int, text: str | None = None) -> None:
        rows = "\n".join(f"{day}-{number}" for number in range(ROWS_A_DAY))
        (self.data / "log" / f"{date_of(day)}.csv").write_text(text or rows)
        # Users and items join every day.
        for table in ("users", "items"):
            (self.data / f"{table}.parquet").write_text(f"until {self.today}")

    def retrain(self, *, resume: bool = False) -> str:
        return retrain(self.config(), self.features, resume=resume, run=self.run, say=lambda _: None)

    def run(self, config: PipelineConfig) -> SimpleNamespace:
        """Read the window's files as the ingest does, and leave what a run leaves."""
        window = config.ingest.window
        if self.today == KILLED:
            with pytest.raises(BusyError, match=r"expected no other process at work"):
                self.retrain()
        rows: Counter[str] = Counter()
        for file in sorted((self.data / "log").iterdir()):
            if window.first <= datetime.date.fromisoformat(file.stem) <= window.last:
                if file.read_text() == CUT_OFF:
                    self.note("failed", window)
                    raise DataError(f"{file} is cut off")
                rows.update(file.read_text().splitlines())
        if self.today == KILLED and self.runs[0].status != "interrupted":
            self.note("interrupted", window)
            raise KilledError
        assert self.today not in self.trained
        self.trained[self.today] = rows
        current = plan_module.find_current_version(str(self.serving))
        self.starts[self.today] = (
            ("warm", current) if config.training.warm_start and current else ("cold", None)
        )
        is_released = self.today != REFUSED
        self.note("released" if is_released else "not blessed", window)
        if is_released:
            self.release(*self.starts[self.today])
        release = f"{self.serving}/releases/{self.today}" if is_released else None
        return SimpleNamespace(
            run_id=f"r{self.today}", release=release, evaluation_report={"gate": {"sentence": "Judged."}}
        )

    def note(self, status: str, window: object) -> None:
        report = self.folder / f"report-{len(self.runs)}"
        report.mkdir()
        found = fingerprint_days(self.features, str(self.data), window)
        (report / "ingest_report.json").write_text(json.dumps({"day_fingerprints": found}))
        run = Run(
            run_id=f"r{self.today}", pipeline="shop", started=self.clock(3), seconds=60.0, status=status,
            steps=(), release=None, report=None, blessing_metric=None, metrics=None, ingest_report=report,
            window=(window.first.isoformat(), window.last.isoformat(), 0),
        )  # fmt: skip
        self.runs.insert(0, run)

    def release(self, start: str, base: int | None) -> None:
        in_a_row = 0 if base is None else 1 + self.manifest(base).get("in_a_row", 0)
        report = json.loads((self.runs[0].ingest_report / "ingest_report.json").read_text())
        warm_start = {"release": base, "model_id": "m", "tables": {}, "in_a_row": in_a_row}
        manifest = {
            "version": self.today, "created": self.clock(4).isoformat(), "run_id": f"r{self.today}",
            "model_id": "m", "dim": 3, "temperature": 0.1, "items": 3, "schema_sha256": "1",
            "transform_sha256": "2", "metrics": {}, "popularity": {}, "parts": {},
            "warm_start": warm_start if start == "warm" else None, **report,
        }  # fmt: skip
        file = self.serving / "releases" / str(self.today) / "manifest.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(manifest))

    def manifest(self, version: int) -> dict:
        manifest = json.loads((self.serving / "releases" / str(version) / "manifest.json").read_text())
        return manifest["warm_start"] or {}

    def roll_back(self, version: int) -> None:
        decision = {"version": version, "over": self.today, "since": self.clock(9).isoformat(), "reason": ""}
        (self.serving / "releases" / "current.json").write_text(json.dumps(decision))

    def clock(self, hour: int) -> datetime.datetime:
        """Give a time of the night after the day."""
        midnight = datetime.datetime.combine(date_of(self.today + 1), datetime.time(), datetime.UTC)
        return midnight + datetime.timedelta(hours=hour, minutes=len(self.runs))


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Iterator[Month]:
    """Live through thirty days, and check what each of them says at once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield live_through(Month(tmp_path_factory.mktemp("month"), monkeypatch))


def live_through(month: Month) -> Month:
    month.write(-1)
    month.write(0)
    for day in range(1, 31):
        month.today = day
        if day in (MISSING, LATE):
            assert month.retrain() == "nothing new"
            continue
        month.write(day, CUT_OFF if day == CORRUPT else None)
        if day == LATE_COMES:
            month.write(LATE)
        if day == CORRUPT + 1:
            month.write(CORRUPT)
        if day in OFF:
            continue
        if day == CORRUPT:
            with pytest.raises(DataError, match=r"2025-04-12\.csv is cut off"):
                month.retrain()
            continue
        if day == KILLED:
            with pytest.raises(KilledError):
                month.retrain()
            assert month.retrain(resume=True) == "released"
        else:
            assert month.retrain() == ("refused" if day == REFUSED else "released")
        assert month.retrain() == "nothing new"
        if day == ROLLED_BACK:
            month.roll_back(day - 1)
    return month


def test_every_day_that_is_there_is_trained_on_once_per_window(month):
    assert set(month.trained) == set(range(1, 31)) - WITHOUT_MODEL
    for day, rows in month.trained.items():
        days = OTHER_WINDOWS.get(day, (day - 2, day - 1, day))
        expected = {f"{one}-{number}": 1 for one in days for number in range(ROWS_A_DAY)}
        assert rows == expected, day


def test_no_day_but_the_missing_one_is_lost(month):
    trained = set(itertools.chain.from_iterable(month.trained.values()))
    there = set(range(-1, 31)) - {MISSING}
    assert trained == {f"{day}-{number}" for day in there for number in range(ROWS_A_DAY)}


def test_each_model_begins_from_the_release_that_was_current(month):
    bases = {day: base for day, (_, base) in month.starts.items() if base is not None}
    assert bases[KILLED] == 14
    assert bases[OFF[-1] + 2] == OFF[-1] + 1
    assert bases[REFUSED] == bases[REFUSED + 1] == 22
    assert bases[ROLLED_BACK + 1] == ROLLED_BACK - 1
    # Taken over by the release that came after the rollback.
    assert bases[ROLLED_BACK + 2] == ROLLED_BACK + 1


def test_one_of_seven_models_begins_from_nothing(month):
    # Six warm ones follow the first, six the second. Of those after the third, two count for nothing: the one
    # that was refused, and the one that was taken back.
    assert [day for day, (start, _) in month.starts.items() if start == "cold"] == [1, 10, 21, 30]


def test_what_failed_was_noted_and_nothing_else(month):
    statuses = Counter(run.status for run in month.runs)
    assert statuses == {"released": 23, "not blessed": 1, "failed": 1, "interrupted": 1}
