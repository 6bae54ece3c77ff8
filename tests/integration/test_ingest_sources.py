"""InteractionIngest on files of every format, daily logs and damaged input, through Beam."""

import datetime
import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.fingerprints import fingerprint_inputs
from components.interaction_ingest.outputs import IngestOutputs
from components.interaction_ingest.run import run_ingest
from schemas.errors import DataError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.integration

VOCABULARY = {"kind": "vocabulary"}
DAY = 86_400
# 2026-11-18T00:00:00Z, by `date -ud 2026-11-18 +%s`.
START = 1_794_960_000
LOG = [
    {"customer": f"u{n % 7}", "sku": n % 5, "timestamp": START + n // 10 * DAY + n % 10, "device": "tv"}
    for n in range(50)
]
USERS = [{"user": f"u{n}", "age": 20 + n} for n in range(7)]
ITEMS = [{"item": n, "price": 1.5 * n, "tags": ["a", "b"][: n % 3]} for n in range(5)]


def make_spec(log: str, users: str = "users.parquet", items: str = "items.parquet") -> FeatureSpec:
    features = [
        {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
        {"name": "age", "dtype": "int", "tower": "user"},
        {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
        {"name": "price", "dtype": "float", "tower": "item"},
        {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "default": "none"},
        {"name": "device", "dtype": "string", "tower": "context", "default": "web"},
    ]
    tables = {
        "interactions": {"file": log, "columns": {"user": "customer", "item": "sku"}},
        "users": {"file": users},
        "items": {"file": items},
    }
    spec = {"name": "shop", "features": features, "history": {"length": 3}, "tables": tables}
    return parse(FeatureSpec, spec, source="test")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".csv" in path.name:
        flat = [{k: "|".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(pa.Table.from_pylist(flat), sink)
        content = sink.getvalue().to_pybytes()
    elif ".avro" in path.name:
        kinds = {int: "long", float: "double", str: "string", list: {"type": "array", "items": "string"}}
        fields = [{"name": name, "type": ["null", kinds[type(value)]]} for name, value in rows[0].items()]
        sink = io.BytesIO()
        fastavro.writer(sink, {"type": "record", "name": "Row", "fields": fields}, rows, codec="deflate")
        content = sink.getvalue()
    elif ".jsonl" in path.name:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        kind = "GZIP" if path.suffix == ".gz" else None
        with tf.io.TFRecordWriter(str(path), kind) as writer:
            for row in rows:
                writer.write(to_example(row))
        return path
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = pa.compress(content, codec="zstd", asbytes=True)
    path.write_bytes(content)
    return path


def to_example(row: dict[str, Any]) -> bytes:
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            values = value if isinstance(value, list) else [value]
            feature.bytes_list.value.extend(one.encode() for one in values)
    return example.SerializeToString()


def ingest(folder: Path, spec: FeatureSpec, data: Path, config: IngestConfig | None = None, **window: Any):
    names = ("sequences", "users", "items", "contexts", "catalogue", "report", "dead_letters")
    options = PipelineOptions(["--runner=FnApiRunner"])
    report = run_ingest(
        lambda: beam.Pipeline(options=options),
        spec,
        config or IngestConfig(),
        str(data),
        IngestOutputs(**{name: folder / name for name in names}),
        window=WindowConfig(**window),
    )
    assert report["rows_read"] == report["rows_kept"] + sum(report["dropped"].values())
    letters = [
        row
        for path in sorted((folder / "dead_letters").glob("interactions*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert sum(row["rows"] for row in letters) == sum(report["rejected"].values())
    return report, letters


def read_outputs(folder: Path) -> dict[str, list[Any]]:
    """Read what the ingest wrote, by file."""
    found: dict[str, list[Any]] = {
        path.name: pq.read_table(path).to_pylist() for path in (folder / "sequences").iterdir()
    }
    for path in folder.rglob("*.gz"):
        if path.name.startswith("examples-"):
            found[str(path.relative_to(folder))] = [
                tf.train.Example.FromString(record.numpy()).SerializeToString(deterministic=True)
                for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP")
            ]
    return found


@pytest.fixture(scope="module")
def from_parquet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("parquet")
    write_tables(folder / "data")
    write(folder / "data" / "log.parquet", LOG)
    ingest(folder, make_spec("log.parquet"), folder / "data")
    found = read_outputs(folder)
    assert sum(len(user["item"]) for user in found["sequences-00000-of-00001.parquet"]) == 50
    assert len(found) == 5
    return found


def write_tables(data: Path) -> None:
    write(data / "users.parquet", USERS)
    write(data / "items.parquet", ITEMS)


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "jsonl.zst", "jsonl", "tfrecord", "tfrecord.gz", "parquet", "avro"]
)
def test_every_format_gives_the_sequences_of_parquet(tmp_path, from_parquet, ending):
    data = tmp_path / "data"
    # In two files, which together have the order of the one.
    write(data / "log" / f"a.{ending}", LOG[:20])
    write(data / "log" / f"b.{ending}", LOG[20:])
    users, items = write(data / f"users.{ending}", USERS), write(data / f"items.{ending}", ITEMS)
    report, letters = ingest(tmp_path, make_spec(f"log/*.{ending}", users.name, items.name), data)
    assert read_outputs(tmp_path) == from_parquet
    assert (letters, report["rejected"], report["dropped"]) == ([], {}, {})
    assert report["files"] == {
        "interactions": [f"log/a.{ending}", f"log/b.{ending}"],
        "users": [users.name],
        "items": [items.name],
    }
    dead = json.loads((tmp_path / "dead_letters" / "dead_letters.json").read_text())
    assert dead == {"interactions": {}, "users": {}, "items": {}}


def test_daily_logs(tmp_path):
    data = tmp_path / "data"
    write_tables(data)
    for day in (0, 1, 3, 4):
        name = (datetime.date(2026, 11, 18) + datetime.timedelta(days=day)).isoformat()
        rows = LOG[day * 10 : day * 10 + 10]
        # An event of the day before, as arrives at midnight.
        rows = [{**rows[0], "timestamp": rows[0]["timestamp"] - 1}, *rows[1:]]
        write(data / "logs" / f"day={name}" / "events.jsonl.gz", rows)
    spec = make_spec("logs/day={date}/events.jsonl.gz")
    report, _ = ingest(tmp_path, spec, data, last_days=4, maximum_missing_days=1)
    assert (report["window_from"], report["window_to"]) == ("2026-11-19", "2026-11-22")
    assert report["missing_days"] == ["2026-11-20"]
    assert report["files"]["interactions"] == [
        f"logs/day=2026-11-{day}/events.jsonl.gz" for day in (19, 21, 22)
    ]
    assert (report["rows_read"], report["dropped"]) == (30, {"outside_window": 1})
    assert report["input_fingerprint"] == fingerprint_inputs(
        spec, str(data), WindowConfig(last_days=4, maximum_missing_days=1)
    )
    with pytest.raises(DataError, match="1 days of 2026-11-19 to 2026-11-22 have no file: 2026-11-20"):
        ingest(tmp_path, spec, data, last_days=4, maximum_missing_days=0)


def test_damaged_files_are_counted_below_the_limit_and_stop_the_run_above_it(tmp_path):
    data = tmp_path / "data"
    write_tables(data)
    rows = [{**row, "timestamp": START + n} for n, row in enumerate(LOG * 20)]
    write(data / "log" / "a.parquet", rows)
    cut = write(data / "log" / "b.parquet", rows[:10]).read_bytes()
    (data / "log" / "b.parquet").write_bytes(cut[: len(cut) - 20])
    spec = make_spec("log")
    report, letters = ingest(tmp_path, spec, data, IngestConfig(maximum_rejected_fraction=0.5))
    assert (report["rows_read"], report["rows_kept"]) == (1001, 1000)
    assert report["rejected"] == {"unreadable_file": 1}
    assert report["unread_bytes"] == len(cut) - 20
    assert [(row["file"], row["reason"]) for row in letters] == [
        (str(data / "log" / "b.parquet"), "unreadable_file")
    ]
    with pytest.raises(
        DataError, match=r"1 of 1,001 rows are malformed and .* unreadable_file: 1 \(such as /.*b\.par"
    ):
        ingest(tmp_path, spec, data)


def test_a_text_log_with_every_kind_of_damage(tmp_path):
    data = tmp_path / "data"
    write_tables(data)
    good = [f"u{n % 7},{n % 5},{START + n},tv" for n in range(300)]
    bad = ["u1,1,10,tv,more", "u1", ",1,10,tv", "u1,1,never,tv", f"u1,1,{START}000000,tv"]
    content = "\n".join(["customer,sku,timestamp,device", *good[:150], *bad, *good[150:]]).encode()
    content = content.replace(b"u3,3,", b"u\xff,3,", 1)
    stored = gzip.compress(content + b"\nu5,1," + random.Random(5).randbytes(99).hex().encode())
    (data / "log.csv.gz").write_bytes(stored[:-10])
    # Nothing tells how much of a file that is cut off is missing, so all its bytes count.
    report, letters = ingest(
        tmp_path, make_spec("log.csv.gz"), data, IngestConfig(maximum_rejected_fraction=1)
    )
    assert report["unread_bytes"] == len(stored) - 10
    assert report["rejected"] == {
        "invalid_utf8": 1,
        "null_id": 1,
        "out_of_range_timestamp": 1,
        "too_few_fields": 1,
        "too_many_fields": 1,
        "unreadable_rest": 1,
        "wrong_type": 1,
    }
    assert (report["rows_kept"], report["rows_read"]) == (299, 306)
    assert {row["row"] for row in letters if row["reason"] != "unreadable_rest"} == {4, *range(151, 156)}
    with pytest.raises(
        DataError, match=r"7 of 306 rows are malformed and .* up to 100%.*Most frequent: unreadable_rest: 1 "
    ):
        ingest(tmp_path, make_spec("log.csv.gz"), data)
