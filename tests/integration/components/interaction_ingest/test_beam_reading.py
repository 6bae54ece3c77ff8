"""How many files the rows of many small pieces become."""

import apache_beam as beam
import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from components.interaction_ingest.beam import reading
from components.interaction_ingest.beam.reading import NEWEST, ReadAndClean
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.outputs import IngestOutputs
from components.interaction_ingest.reading.inputs import open_interactions
from components.interaction_ingest.spill import Spilled, read_spill
from components.interaction_ingest.window import ALL_DAYS
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.integration

FILES, ROWS = 30, 4
IDENTITY = {"dtype": "string", "encoding": {"kind": "vocabulary"}}
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "tables": {"interactions": {"file": "log", "format": "csv"}},
        "features": [
            {"name": "user", "tower": "user", "role": "user_id", **IDENTITY},
            {"name": "item", "tower": "item", "role": "item_id", **IDENTITY},
        ],
    },
    source="test",
)


@pytest.fixture
def step(tmp_path):
    """Reads a log of 30 files with 4 rows each, at the seconds 0 to 119, into one bucket."""
    (tmp_path / "log").mkdir()
    for file in range(FILES):
        lines = [f"u,i{file},{file * ROWS + row}" for row in range(ROWS)]
        (tmp_path / "log" / f"{file:02d}.csv").write_text("\n".join(["user,item,timestamp", *lines, ""]))
    outputs = IngestOutputs(
        **{name: tmp_path / name for name in ("sequences", "users", "items", "catalogue", "report")}
    )
    outputs.prepare(IngestConfig())
    return ReadAndClean(SPEC, IngestConfig(), 1, outputs, ALL_DAYS, requests_items=False)


@pytest.fixture
def pieces(step, tmp_path):
    return open_interactions(SPEC, IngestConfig(), str(tmp_path), None).looked.pieces


def run_bundle(step, pieces):
    """The places of the rows, and the newest seconds."""
    step.start_bundle()
    outputs = [output for piece in pieces for output in step.process(piece)]
    for output in step.finish_bundle():
        is_tagged = isinstance(output, beam.pvalue.TaggedOutput)
        value = output.value if is_tagged else output
        assert isinstance(value, WindowedValue)
        assert value.windows == (GlobalWindow(),)
        outputs.append(beam.pvalue.TaggedOutput(output.tag, value.value) if is_tagged else value.value)
    places = [output for output in outputs if isinstance(output, tuple)]
    assert all(bucket == 0 and isinstance(place, Spilled) for bucket, place in places)
    newest = [output.value for output in outputs if getattr(output, "tag", "") == NEWEST]
    return [place for _, place in places], newest


def seconds_of(places):
    return [batch.column("timestamp").to_pylist() for batch in read_spill(places)]


@pytest.mark.parametrize("batches", [2, 1_024])
def test_the_pieces_of_a_bundle_share_a_file(step, pieces, monkeypatch, batches):
    monkeypatch.setattr(reading, "_WAITING_BATCHES", batches)
    places, newest = run_bundle(step, pieces)
    assert newest == [119]
    assert seconds_of(places) == [[*range(120)]]


def test_rows_stand_in_the_order_of_the_log_whatever_order_the_pieces_come_in(step, pieces):
    places, _ = run_bundle(step, pieces[::-1])
    assert seconds_of(places) == [[*range(120)]]


def test_no_more_rows_wait_than_one_batch_above_the_bound(step, pieces, monkeypatch):
    monkeypatch.setattr(reading, "_SPILL_ROWS", 41)
    places, newest = run_bundle(step, pieces)
    # 11 pieces of 4 rows are the first that are at least 41.
    assert [len(seconds) for seconds in seconds_of(places)] == [44, 44, 32]
    assert newest == [43, 87, 119]


def test_what_a_failed_bundle_had_read_is_not_in_the_next(step, pieces):
    step.start_bundle()
    for piece in pieces[:7]:
        list(step.process(piece))
    assert seconds_of(run_bundle(step, pieces)[0]) == [[*range(120)]]
