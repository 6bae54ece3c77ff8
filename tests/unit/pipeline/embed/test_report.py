import json
from dataclasses import replace

import pytest

from pipeline.embed.report import EmbedReport, render_report, report_to_json

pytestmark = pytest.mark.unit

REPORT = EmbedReport(
    release=3,
    model_id="m",
    table="users",
    input="new.csv",
    id="user_id",
    dim=64,
    rows_read=1003,
    rows=1000,
    rejected={"null_id": 2, "wrong_type": 1},
    filled={"age": 7},
    stand_ins={"device": "web"},
    histories={"given": 10, "known": 900, "empty": 90, "given_without_times": 4, "unknown_items": 5},
    files={"embeddings-00000-00000.parquet": 1000},
)


def test_every_row_is_accounted_for():
    assert render_report(REPORT, "out").splitlines() == [
        "Embedded 1,000 of 1,003 rows of new.csv with release 3, 64 dimensions each: out",
        "Rows rejected: null_id 2, wrong_type 1",
        "Defaults filled in: age 7",
        "Not in the table, so that every row has the same: device 'web'",
        "Histories: 10 given, 900 of users that release 3 knows, 90 empty",
        "How long ago the items of 4 given histories were is not known: they count as just now",
        "Left out of the given histories, since the release does not have them: 5 items",
    ]


def test_a_model_without_a_history_is_told_of():
    plain = replace(REPORT, rejected={}, filled={}, stand_ins={}, histories=None)
    first, *others = render_report(plain, "out").splitlines()
    assert others == ["The model reads no history."]
    assert render_report(replace(plain, table="items"), "out") == first


def test_a_program_reads_the_same():
    content = json.loads(report_to_json(REPORT))
    assert (content["rows"], content["histories"]["known"], content["model_id"]) == (1000, 900, "m")
    assert content["stand_ins"] == {"device": "web"}
