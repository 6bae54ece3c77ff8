import dataclasses
import datetime
import json
from pathlib import Path

import pytest

from pipeline.run_table import render_runs, runs_to_json
from pipeline.runs import Run

pytestmark = pytest.mark.unit

METRICS = {"recall_at_10": 0.1234567, "recall_at_100": 0.5, "ndcg_at_10": 0.0625, "ndcg_at_100": 0.25}
RELEASED = Run(
    run_id="20261128T120000.100000Z",
    pipeline="shop",
    started=datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC),
    seconds=1234.5,
    status="released",
    steps=(),
    release=3,
    report=Path("/runs/report/12"),
    blessing_metric="recall_at_100",
    metrics=METRICS,
)
FAILED = dataclasses.replace(
    RELEASED,
    run_id="20261127",
    seconds=9.0,
    status="failed",
    steps=("Trainer",),
    release=None,
    report=None,
    blessing_metric=None,
    metrics=None,
)


def test_a_line_a_run_with_the_metric_that_decides_first():
    header, _, *lines = render_runs([FAILED, RELEASED]).splitlines()
    assert header.split("  ")[0] == "run"
    assert header.split()[-5:] == ["recall@100", "recall@10", "ndcg@10", "seconds", "release"]
    assert lines[0].split() == [
        *("20261127", "2026-11-28", "12:00:00", "failed", "in", "Trainer", "-", "-", "-", "9", "-"),
    ]
    assert lines[1].split() == [
        *("20261128T120000.100000Z", "2026-11-28", "12:00:00", "released"),
        *("0.5000", "0.1235", "0.0625", "1,234", "3"),
    ]


def test_runs_without_an_evaluation_have_no_metrics():
    header, _, line = render_runs([FAILED]).splitlines()
    assert header.split()[-3:] == ["status", "seconds", "release"]
    assert line.split()[-2:] == ["9", "-"]


def test_several_pipelines_in_one_directory_are_told_apart():
    assert "pipeline" not in render_runs([FAILED, RELEASED])
    header, _, *lines = render_runs([FAILED, dataclasses.replace(RELEASED, pipeline="other")]).splitlines()
    assert header.split()[:2] == ["run", "pipeline"]
    assert [line.split()[1] for line in lines] == ["shop", "other"]


def test_what_is_left_out_is_said():
    gone = dataclasses.replace(RELEASED, metrics=None)
    assert render_runs([gone, RELEASED], most=1).splitlines()[-2:] == [
        "No metrics where the evaluation's report cannot be read, such as in /runs/report/12.",
        "There are older runs: --most 0 shows all.",
    ]
    assert len(render_runs([RELEASED], most=1).splitlines()) == 3


def test_no_run_at_all():
    assert render_runs([]) == "No runs."
    assert runs_to_json([]) == "[]"


def test_json_has_everything():
    released, failed = json.loads(runs_to_json([RELEASED, FAILED, FAILED], most=2))
    assert released == {
        "run_id": "20261128T120000.100000Z",
        "pipeline": "shop",
        "started": "2026-11-28T12:00:00+00:00",
        "seconds": 1234.5,
        "status": "released",
        "steps": [],
        "release": 3,
        "report": "/runs/report/12",
        "blessing_metric": "recall_at_100",
        "metrics": METRICS,
        "ingest_report": None,
        "window": None,
    }
    assert (failed["status"], failed["steps"], failed["report"]) == ("failed", ["Trainer"], None)
