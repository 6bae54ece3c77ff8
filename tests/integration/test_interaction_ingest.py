"""InteractionIngest through its executor and Beam, on real files."""

import dataclasses
import datetime
import json
import logging
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import fn_runner
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts

import components
from components.interaction_ingest import spill
from components.interaction_ingest.beam import interactions, reading, shuffling, writing
from components.interaction_ingest.beam.joins import Joins
from components.interaction_ingest.component import InteractionIngest
from components.interaction_ingest.config import (
    Condition,
    CutOffSplit,
    IngestConfig,
    LastDaysSplit,
    LatestPerUserSplit,
    PositiveRule,
    WeightRule,
    WindowConfig,
)
from components.interaction_ingest.executor import InteractionIngestExecutor
from components.interaction_ingest.fingerprints import fingerprint_inputs
from components.interaction_ingest.outputs import IngestOutputs
from schemas.errors import ConfigError, DataError
from schemas.features import FeatureSpec
from schemas.sequences import sequences_schema
from schemas.strict_config import from_json, parse, to_json

pytestmark = pytest.mark.integration

VOCABULARY = {"kind": "vocabulary"}
SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "tables": {"items": {"file": "items.parquet", "display": ["title"]}},
        "history": {"name": "history", "length": 2},
        "features": [
            {"name": "user", "dtype": "string", "tower": "user", "role": "user_id", "encoding": VOCABULARY},
            {"name": "age", "dtype": "int", "tower": "user", "default": 40},
            {"name": "item", "dtype": "string", "tower": "item", "role": "item_id", "encoding": VOCABULARY},
            {"name": "price", "dtype": "float", "tower": "item", "default": 9.5},
            {"name": "tags", "dtype": "string", "tower": "item", "multi_valued": True, "default": "none"},
            {"name": "device", "dtype": "string", "tower": "context", "default": "web"},
        ],
    },
    source="test",
)
EVAL_OF_ODD_USER = 'ann "🙂", o\'neil'

# Row by row: user, item, time, stars, device.
LOG = [
    (EVAL_OF_ODD_USER, 3, 50, 5, "tv"),
    ("bob", 1, 10, 4, None),
    (EVAL_OF_ODD_USER, 1, 20, 4, "tv"),
    ("line\nbreak", 1, 20, 5, "tv"),
    (EVAL_OF_ODD_USER, 2, 20, 5, "app"),
    ("bob", 2, 5, 1, "app"),
    (None, 2, 5, 5, "app"),
    (EVAL_OF_ODD_USER, 4, 60, 2, "tv"),
    (EVAL_OF_ODD_USER, 4, 10, 5, "tv"),
]


def write_tables(folder: Path, log=LOG, users=None, **options) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    user, item, time, stars, device = (list(column) for column in zip(*log, strict=True))
    interactions = {
        "user": pa.array(user).dictionary_encode(),
        "item": pa.array(item, pa.int32()),
        "timestamp": pa.array([t * 1000 + 999 for t in time], pa.timestamp("ms", tz="UTC")),
        "stars": pa.array(stars, pa.int8()),
        "device": pa.array(device, pa.large_string()),
    }
    pq.write_table(pa.table(interactions), folder / "interactions.parquet", **options)
    users = users or {"user": [EVAL_OF_ODD_USER, "bob", "a\rb"], "age": pa.array([None, 31, 1], pa.int8())}
    pq.write_table(pa.table(users), folder / "users.parquet")
    items = {
        "item": pa.array([4, 3, 2, 1], pa.int64()),
        "price": [4.0, 3.0, None, 1.0],
        "tags": [["x", "y"], [], ["z"], None],
        "title": ["Four", "Three", "Two", "One"],
    }
    pq.write_table(pa.table(items), folder / "items.parquet")


def ingest(
    tmp_path: Path,
    config: IngestConfig,
    beam_options=("--runner=FnApiRunner",),
    fingerprint="0" * 64,
    maximum_rejected_fraction=0.5,
    **window,
) -> dict:
    config = dataclasses.replace(config, maximum_rejected_fraction=maximum_rejected_fraction)
    component = InteractionIngest(
        SPEC, config, str(tmp_path / "data"), **window, input_fingerprint=fingerprint
    )
    artifacts = {
        "sequences": components.Sequences(),
        "users": standard_artifacts.Examples(),
        "items": standard_artifacts.Examples(),
        **({"contexts": standard_artifacts.Examples()} if SPEC.table_features("context") else {}),
        "catalogue": components.Catalogue(),
        "report": components.Report(),
        "dead_letters": components.DeadLetters(),
    }
    assert component.outputs.keys() == artifacts.keys()
    for name, artifact in artifacts.items():
        assert component.outputs[name].type is type(artifact)
        artifact.uri = str(tmp_path / name)
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=[*beam_options], tmp_dir=str(tmp_path / "tmp"), unique_id="1"
    )
    properties = {**component.exec_properties}
    assert from_json(FeatureSpec, properties["feature_spec"]) == SPEC
    InteractionIngestExecutor(context).Do({}, {k: [v] for k, v in artifacts.items()}, properties)
    splits = ["train", "validation", "eval"] if config.validation else ["train", "eval"]
    of_artifact = {"users": ["all"], "items": ["all"], "contexts": splits}
    for name in of_artifact.keys() & artifacts.keys():
        assert artifact_utils.decode_split_names(artifacts[name].split_names) == of_artifact[name]
        assert examples_utils.get_payload_format_string(artifacts[name]) == "FORMAT_TF_EXAMPLE"
        assert examples_utils.get_file_format(artifacts[name]) == "tfrecords_gzip"
        folders = sorted(path.name for path in (tmp_path / name).iterdir())
        assert folders == sorted(f"Split-{split}" for split in of_artifact[name])
    assert all(path.suffix == ".parquet" for path in (tmp_path / "sequences").iterdir())
    assert [path.name for path in (tmp_path / "catalogue").iterdir()] == ["catalogue.parquet"]
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["ingest_report.json"]
    report = json.loads((tmp_path / "report" / "ingest_report.json").read_text("utf-8"))
    for artifact in artifacts.values():
        for name in ("window_from", "window_to", "input_fingerprint"):
            assert artifact.get_string_custom_property(name) == report[name]
    assert report["rows_read"] == report["rows_kept"] + sum(report["dropped"].values())
    assert report["rows_kept"] == sum(
        report[f"{split}_rows"] for split in ("train", "validation", "eval", "skipped")
    )
    return report


def read_examples(path: Path) -> list[dict]:
    rows = []
    for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP"):
        example = tf.train.Example.FromString(record.numpy())
        row = {}
        for name, feature in example.features.feature.items():
            kind = feature.WhichOneof("kind")
            values = list(getattr(feature, kind).value) if kind else []
            row[name] = [v.decode() for v in values] if kind == "bytes_list" else values
        rows.append(row)
    return rows


def read_entities(tmp_path: Path, name: str, split: str = "all") -> list[dict]:
    files = sorted((tmp_path / name / f"Split-{split}").iterdir())
    return [row for path in files for row in read_examples(path)]


def read_outputs(tmp_path: Path) -> dict:
    """Read everything that the buckets wrote, by file."""
    tables = {path.name: pq.read_table(path).to_pylist() for path in (tmp_path / "sequences").iterdir()}
    examples = {
        str(path.relative_to(tmp_path)): read_examples(path)
        for name in ("users", "items", "contexts")
        for path in (tmp_path / name).rglob("*.gz")
    }
    return {**tables, **examples}


def test_every_output_of_a_small_shop(tmp_path, caplog):
    write_tables(tmp_path / "data", row_group_size=2)
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        report = ingest(tmp_path, IngestConfig(positives=PositiveRule(column="stars", at_least=4)))

    ann = EVAL_OF_ODD_USER
    [path] = (tmp_path / "sequences").iterdir()
    assert path.name == "sequences-00000-of-00001.parquet"
    table = pq.read_table(path)
    assert table.schema.equals(sequences_schema(SPEC, has_weights=False))
    # In the order of the users' first rows; in the file, bob's at 10 stands before ann's.
    assert table.to_pylist() == [
        {
            "user": "bob",
            "age": 31,
            "item": ["1"],
            "timestamp": [10],
            "device": ["web"],
            "train_end": 1,
            "validation_end": 1,
            "eval_end": 1,
        },
        {
            "user": ann,
            "age": 40,
            "item": ["4", "1", "2", "3"],
            "timestamp": [10, 20, 20, 50],
            "device": ["tv", "tv", "app", "tv"],
            "train_end": 3,
            "validation_end": 3,
            "eval_end": 4,
        },
    ]
    assert read_entities(tmp_path, "users") == [
        {"user": ["bob"], "age": [31], "train_rows": [1], "validation_rows": [0]},
        {"user": [ann], "age": [40], "train_rows": [3], "validation_rows": [0]},
    ]
    assert read_entities(tmp_path, "items") == [
        {"item": [i], "price": [p], "tags": tags, "train_rows": [rows], "validation_rows": [0]}
        for i, p, tags, rows in (
            ("4", 4.0, ["x", "y"], 1),
            ("3", 3.0, [], 0),
            ("2", 9.5, ["z"], 1),
            ("1", 1.0, ["none"], 2),
        )
    ]
    found = read_entities(tmp_path, "contexts", "train")
    assert found == [{"device": [name]} for name in ("web", "tv", "tv", "app")]
    assert read_entities(tmp_path, "contexts", "eval") == [{"device": ["tv"]}]
    # The columns to show are the indexer's affair.
    assert pq.read_table(tmp_path / "catalogue" / "catalogue.parquet").to_pydict() == {
        "item": ["4", "3", "2", "1"],
        "price": [4.0, 3.0, 9.5, 1.0],
        "tags": [["x", "y"], [], ["z"], ["none"]],
    }
    edges = [2**power for power in range(24)]
    figures = {
        "train_positives_per_user": {"edges": edges, "counts": [1, 1, *[0] * 22]},
        "train_positives_per_item": {"edges": edges, "counts": [2, 1, *[0] * 22]},
        "train_positives_per_day": {"1970-01-01": 4},
    }
    assert report.pop("sequence_figures") == figures
    days = report.pop("day_fingerprints")
    assert {table: list(of_table) for table, of_table in days.items()} == {
        "interactions": [""],
        "users": [""],
        "items": [""],
    }
    assert report == {
        "rows_read": 9,
        "rows_kept": 5,
        "dropped": {"below_positive_rule": 2, "line_break_in_id": 1, "null_id": 1},
        "train_rows": 4,
        "validation_rows": 0,
        "eval_rows": 1,
        "skipped_rows": 0,
        "users": 2,
        "items": 4,
        "users_with_one_positive": 1,
        "users_of_log": 2,
        "unknown_users": 0,
        "unknown_items": 0,
        "items_of_table": 4,
        "metadata_defaults": {},
        "filled_defaults": {"age": 1, "price": 1, "tags": 1, "device": 1},
        "history_values_cut": {},
        "line_breaks_cleaned": {},
        "item_table_columns": ["item", "price", "tags", "title"],
        "user_table_dropped": {"line_break_in_id": 1},
        "item_table_dropped": {},
        "first_timestamp": 10,
        "last_timestamp": 50,
        "time_unit": "s",
        "warnings": [
            "5 of 5 positives are from before 1990, the first from 1970-01-01 and all positives are within a "
            "day, 1970-01-01. Times that are numbers were read as s; if that is wrong, set "
            "tables.interactions.unit in the schema file to s, ms, us, ns, yyyymmdd or auto"
        ],
        "window_from": "",
        "window_to": "",
        "missing_days": [],
        "input_fingerprint": "0" * 64,
        "files": {
            "interactions": ["interactions.parquet"],
            "users": ["users.parquet"],
            "items": ["items.parquet"],
        },
        "rejected": {"line_break_in_id": 1, "null_id": 1},
        "unread_bytes": 0,
    }
    # In the order (file, row): the first three are of the interactions.
    letters = [
        row
        for name in ("interactions-00000-00001", "interactions-00000-00003", "users")
        for row in pq.read_table(tmp_path / "dead_letters" / f"{name}.parquet").to_pylist()
    ]
    assert [(row["table"], row["reason"], row["row"], row["row_group"]) for row in letters] == [
        ("interactions", "line_break_in_id", 4, 1),
        ("interactions", "null_id", 7, 3),
        ("users", "line_break_in_id", 3, 0),
    ]
    assert json.loads(letters[0]["text"])["user"] == "line\nbreak"
    assert letters[0]["file"] == str(tmp_path / "data" / "interactions.parquet")
    lines = [record.message for record in caplog.records if record.name == "dssm.progress"]
    assert len(lines) == 1
    assert lines[0].startswith("Ingest: 9 interactions read, 5 kept (4 train, 1 eval, 0 skipped)")


def many_rows() -> list:
    hashed = [zlib.crc32(str(i).encode()) for i in range(400)]
    return [(f"user {h % 30}", 1 + h % 4, h % 97, 5, "tv") for h in hashed]


def many_users() -> dict:
    return {"user": [f"user {i}" for i in range(30)], "age": [20] * 30}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--direct_runner_bundle_repeat=1",), id="every-bundle-twice"),
        pytest.param(
            ("--direct_running_mode=multi_processing", "--direct_num_workers=2"), id="two-processes"
        ),
    ],
)
def test_every_runner_writes_the_same_rows_once(tmp_path, monkeypatch, options):
    monkeypatch.setattr(interactions, "bucket_count", lambda rows: 3)
    config = IngestConfig(split=LatestPerUserSplit(kind="latest_per_user", skip_latest=1))
    found = []
    for name, beam_options in (("plain", ()), ("other", options)):
        folder = tmp_path / name
        log = many_rows()
        # Without a user, one in each row group.
        for row in range(0, 400, 101):
            log.insert(row, (None, 1, 1, 5, "tv"))
        write_tables(folder / "data", log, many_users(), row_group_size=100)
        report = ingest(folder, config, ("--runner=FnApiRunner", *beam_options))
        rejected = sorted((folder / "dead_letters").glob("*.parquet"))
        letters = [row for path in rejected for row in pq.read_table(path).to_pylist()]
        assert [(row["reason"], row["row_group"]) for row in letters] == [("null_id", n) for n in range(4)]
        assert report["rejected"] == {"null_id": 4}
        files = read_outputs(folder)
        # 30 users, each with a newest row that is skipped and one that is held out.
        assert (report["skipped_rows"], report["eval_rows"], report["train_rows"]) == (30, 30, 340)
        sequences = [user for name, rows in files.items() if name.endswith("parquet") for user in rows]
        assert (len(sequences), sum(len(user["item"]) for user in sequences)) == (30, 400)
        found.append((report, files))
    assert sorted(found[0][1]) == [
        *(
            f"contexts/Split-{split}/examples-0000{bucket}-of-00003.gz"
            for split in ("eval", "train")
            for bucket in range(3)
        ),
        "items/Split-all/examples-00000-of-00001.gz",
        *(f"sequences-0000{bucket}-of-00003.parquet" for bucket in range(3)),
        *(f"users/Split-all/examples-0000{bucket}-of-00003.gz" for bucket in range(3)),
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="one-process"),
        pytest.param(("--direct_runner_bundle_repeat=1",), id="every-bundle-twice"),
        pytest.param(
            ("--direct_running_mode=multi_processing", "--direct_num_workers=2"), id="two-processes"
        ),
    ],
)
def test_both_joins_write_the_same_rows(tmp_path, monkeypatch, options):
    monkeypatch.setattr(interactions, "bucket_count", lambda rows: 3)
    # Users 20 to 29 and items 5 and 6 are in no table.
    log = [(user, 1 + n % 6, time, *rest) for n, (user, _, time, *rest) in enumerate(many_rows())]
    users = {"user": [f"user {i}" for i in range(20)], "age": [*range(20)]}
    found = []
    partitioned: list[int] = []
    expand = shuffling.PartitionTable.expand
    monkeypatch.setattr(
        shuffling.PartitionTable, "expand", lambda *args: partitioned.append(1) or expand(*args)
    )
    for join, beam_options in (("broadcast", ()), ("shuffle", options)):
        folder = tmp_path / join
        write_tables(folder / "data", log, users, row_group_size=100)
        config = IngestConfig(join=join, missing_metadata="default")
        report = ingest(folder, config, ("--runner=FnApiRunner", *beam_options))
        assert (report["unknown_users"], report["unknown_items"], report["rows_kept"]) == (10, 2, 400)
        found.append((report, read_outputs(folder)))
        # Both tables are partitioned, or none is.
        assert len(partitioned) == (2 if join == "shuffle" else 0)
    ages = {row["user"][0]: row["age"][0] for row in read_entities(tmp_path / "shuffle", "users")}
    assert ages == {f"user {i}": i if i < 20 else 40 for i in range(30)}
    assert found[0] == found[1]


def test_bundles_that_the_runner_runs_again_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(interactions, "bucket_count", lambda rows: 3)
    config = IngestConfig(join="shuffle")
    write_tables(tmp_path / "data", [*many_rows(), (None, 1, 1, 5, "tv")], many_users(), row_group_size=100)

    def run():
        report = ingest(tmp_path, config)
        letters = [
            pq.read_table(path).to_pylist() for path in sorted((tmp_path / "dead_letters").glob("*.parquet"))
        ]
        return report, read_outputs(tmp_path), letters

    expected = run()
    lost: list[str] = []

    def lose_once(kind):
        process = kind.process

        def fail_after_two(self, *args, **options):
            for count, element in enumerate(process(self, *args, **options)):
                if count == 2 and kind.__name__ not in lost:
                    lost.append(kind.__name__)
                    raise RuntimeError("lost worker")
                yield element
            if kind.__name__ not in lost:
                lost.append(kind.__name__)
                raise RuntimeError("lost worker")

        monkeypatch.setattr(kind, "process", fail_after_two)

    retried = []

    def retry(kind):
        process_bundle = kind.process_bundle

        def run_again(self, *args, **options):
            try:
                return process_bundle(self, *args, **options)
            except RuntimeError as error:
                if "lost worker" not in str(error):
                    raise
                retried.append(1)
                return process_bundle(self, *args, **options)

        monkeypatch.setattr(kind, "process_bundle", run_again)

    for step in (reading.ReadAndClean, shuffling.AnswerRequests, writing.WriteBucket):
        lose_once(step)
    for manager in (fn_runner.BundleManager, *fn_runner.BundleManager.__subclasses__()):
        if "process_bundle" in vars(manager):
            retry(manager)
    assert run() == expected
    assert sorted(lost) == ["AnswerRequests", "ReadAndClean", "WriteBucket"]
    assert len(retried) >= len(lost)


def test_a_user_with_200_000_interactions_and_a_planted_future_item(tmp_path, read_rows):
    log = [("robot", 1 + n % 2, n, 5, "tv") for n in range(200_000)]
    # The item 3 is the robot's newest, item 4 the newest but one.
    log += [("robot", 4, 300_000, 5, "tv"), ("robot", 3, 300_001, 5, "tv"), ("bob", 1, 5, 5, "tv")]
    log += [("bob", 2, 6, 5, "tv"), ("bob", 1, 7, 5, "tv")]
    write_tables(tmp_path / "data", log, {"user": ["robot", "bob"], "age": [1, 2]}, row_group_size=20_000)
    report = ingest(tmp_path, IngestConfig())
    assert (report["train_rows"], report["eval_rows"], report["dropped"]) == (200_003, 2, {})
    report = ingest(tmp_path, IngestConfig(max_positives_per_user=20))
    assert report["dropped"] == {"over_user_limit": 200_002 - 20}
    assert (report["train_rows"], report["eval_rows"]) == (19 + 2, 2)
    train = read_rows(tmp_path / "sequences", SPEC, "train")
    assert all("3" not in row["history"] and "4" not in row["history"] for row in train)
    held_out = read_rows(tmp_path / "sequences", SPEC, "eval")
    assert [(row["user"], row["item"], row["history"]) for row in held_out] == [
        ("bob", "1", ["1", "2"]),
        ("robot", "3", ["2", "4"]),
    ]


@pytest.mark.parametrize("failing", ["write_sequences", "write_examples", "write_counts"])
def test_a_bundle_that_fails_once_and_is_run_again_writes_nothing_twice(
    tmp_path, monkeypatch, read_rows, failing
):
    names = ("sequences", "users", "items", "contexts", "catalogue", "report")
    outputs = IngestOutputs(**{name: tmp_path / name for name in names})
    outputs.prepare(IngestConfig())
    pq.write_table(pa.table({"user": ["u"], "age": pa.array([1])}), outputs.work / "users.parquet")
    pq.write_table(pa.table({"item": ["a"]}), outputs.work / "items.parquet")
    rows = pa.record_batch(
        {
            "user": ["u"] * 9,
            "item": ["a"] * 9,
            "timestamp": pa.array(range(9)),
            "device": ["tv"] * 9,
            "#file": pa.array([0] * 9, pa.int32()),
            "#row": pa.array(range(9)),
        }
    )
    # The first attempt at reading was lost after it had written its file.
    spill.write_spill(outputs.work, {0: rows})
    places = spill.write_spill(outputs.work, {0: rows})
    step = writing.WriteBucket(SPEC, IngestConfig(), 1, outputs, Joins())
    step.setup()
    whole = getattr(writing, failing)

    def fail_half_way(table, path):
        whole(table.slice(0, len(table) // 2), path)
        raise OSError("the worker is gone")

    def read_files():
        return {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and path.name.startswith(("sequences-", "examples-", "item-rows-"))
            and path.suffix != ".tmp"
        }  # fmt: skip

    monkeypatch.setattr(writing, failing, fail_half_way)
    element = (0, {"rows": [places[0]]})
    with pytest.raises(OSError, match="the worker is gone"):
        list(step.process(element, None))
    assert len(read_files()) == {"write_sequences": 0, "write_examples": 1, "write_counts": 4}[failing]
    monkeypatch.setattr(writing, failing, whole)
    written = []
    for _ in range(2):
        counts, _ = step.process(element, None)
        assert (counts.rows["train"], counts.rows["eval"]) == (8, 1)
        train = read_rows(tmp_path / "sequences", SPEC, "train")
        assert [row["timestamp"] for row in train] == [*range(8)]
        [held_out] = read_rows(tmp_path / "sequences", SPEC, "eval")
        assert held_out["timestamp"] == 8
        assert read_entities(tmp_path, "contexts", "train") == [{"device": ["tv"]}] * 8
        written.append(read_files().keys())
    assert len(written[0]) == 5
    assert written[0] == written[1]


def test_rules_weights_and_last_days_in_the_sequences(tmp_path, read_rows):
    day = 86_400
    log = [
        ("bob", 1, 0, 5, "tv"),
        ("bob", 2, day, 5, "app"),
        ("bob", 2, 2 * day, 5, "tv"),
        ("bob", 3, 3 * day, 3, "tv"),
        ("bob", 4, 3 * day, 5, "fridge"),
        (EVAL_OF_ODD_USER, 3, 3 * day + 5, 5, "tv"),
        ("bob", 1, 3 * day - 1, 4, "app"),
        # In eval, which takes nothing away from train.
        ("bob", 2, 3 * day, 4, "app"),
        # Nothing that the rule drops moves the last day.
        ("bob", 1, 9 * day, 1, "tv"),
    ]
    write_tables(tmp_path / "data", log)
    stars, device = (
        Condition(column="stars", at_least=4),
        Condition(column="device", one_of=("tv", "app", "fridge")),
    )
    config = IngestConfig(
        positives=PositiveRule(all_of=(stars, device)),
        weight=WeightRule(column="device", by_value={"tv": 2.0, "app": 0.5}),
        repeated="keep_last",
        split=LastDaysSplit(kind="last_days", days=1),
    )
    report = ingest(tmp_path, config)
    assert report["dropped"] == {"below_positive_rule": 2, "no_weight": 1, "repeated_pair": 2}
    found = [
        (split, row["item"], row["weight"], row["history"])
        for split in ("train", "eval")
        for row in read_rows(tmp_path / "sequences", SPEC, split)
    ]
    assert found == [
        ("train", "2", 2.0, ["", ""]),
        ("train", "1", 0.5, ["", "2"]),
        ("eval", "3", 2.0, ["", ""]),
        ("eval", "2", 0.5, ["2", "1"]),
    ]


def test_a_window_drops_the_other_days_and_is_recorded(tmp_path, read_rows):
    day = 86_400
    log = [("bob", 1 + n % 4, n * day, 5, "tv") for n in range(10)]
    write_tables(tmp_path / "data", log)
    # The configuration's own window is no parameter of a run.
    config = IngestConfig(window=WindowConfig(last_days=1))
    report = ingest(tmp_path, config, fingerprint="", window_last_days=4)
    assert (report["window_from"], report["window_to"]) == ("1970-01-07", "1970-01-10")
    assert (report["rows_kept"], report["dropped"]) == (4, {"outside_window": 6})
    assert report["input_fingerprint"] == fingerprint_inputs(SPEC, str(tmp_path / "data"))
    [first, *_] = read_rows(tmp_path / "sequences", SPEC, "train")
    assert (first["timestamp"], first["history"]) == (6 * day, ["", ""])
    assert report["sequence_figures"]["train_positives_per_day"] == {
        "1970-01-07": 1,
        "1970-01-08": 1,
        "1970-01-09": 1,
    }

    report = ingest(tmp_path, config, window_from="1970-01-02", window_to="1970-01-03")
    assert (report["rows_kept"], report["window_from"], report["window_to"]) == (
        2,
        "1970-01-02",
        "1970-01-03",
    )
    with pytest.raises(ConfigError, match=r"The run's window .* Received: '2\. January'"):
        ingest(tmp_path, config, window_from="2. January")


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        # Ann's four in order: 4 and 1 and 2 and 3; Bob's two: 2 and 1.
        (
            LatestPerUserSplit(kind="latest_per_user"),
            {"train": ["4", "1", "2"], "validation": ["2"], "eval": ["3", "1"]},
        ),
        (
            CutOffSplit(kind="cut_off", time=datetime.datetime(1970, 1, 4)),
            {"train": ["4", "1"], "validation": ["2"], "eval": ["3", "2", "1"]},
        ),
    ],
)
def test_a_third_split_between_train_and_eval(tmp_path, caplog, read_rows, split, expected):
    day = 86_400
    ann, bob = EVAL_OF_ODD_USER, "bob"
    log = [
        (ann, 4, 0, 5, "tv"),
        (ann, 1, 2 * day - 1, 5, "tv"),
        (ann, 2, 2 * day, 5, "tv"),
        (ann, 3, 3 * day, 5, "tv"),
        (bob, 2, 3 * day, 5, "tv"),
        (bob, 1, 4 * day, 5, "tv"),
    ]
    write_tables(tmp_path / "data", log)
    config = IngestConfig(split=split, validation=True)
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        report = ingest(tmp_path, config)
    folder = tmp_path / "sequences"
    found = {name: [row["item"] for row in read_rows(folder, SPEC, name)] for name in expected}
    assert found == expected
    [row] = read_rows(folder, SPEC, "validation")
    assert (row["user"], row["history"]) == (ann, ["4", "1"])
    for name, items in expected.items():
        assert len(read_entities(tmp_path, "contexts", name)) == len(items)
    rows = [(row["train_rows"], row["validation_rows"]) for row in read_entities(tmp_path, "users")]
    assert sum(of_user[0][0] for of_user in rows) == len(expected["train"])
    of_items = {row["item"][0]: row["validation_rows"] for row in read_entities(tmp_path, "items")}
    assert of_items == {"4": [0], "3": [0], "2": [1], "1": [0]}
    assert report["validation_rows"] == 1
    assert ", 1 validation, " in caplog.text
    # Without it, nothing of an earlier run is left.
    ingest(tmp_path, dataclasses.replace(config, validation=False))
    assert not (tmp_path / "contexts" / "Split-validation").exists()
    assert read_rows(folder, SPEC, "validation") == []


def test_without_context_features_there_are_no_contexts(tmp_path, monkeypatch, read_rows):
    features = [json.loads(to_json(feature)) for feature in SPEC.features]
    spec = parse(FeatureSpec, {**json.loads(to_json(SPEC)), "features": features[:-1]}, source="test")
    monkeypatch.setitem(globals(), "SPEC", spec)
    write_tables(tmp_path / "data")
    ingest(tmp_path, IngestConfig())
    assert not (tmp_path / "contexts").exists()
    row, _ = read_rows(tmp_path / "sequences", spec, "eval", length=1)
    assert row == {"user": EVAL_OF_ODD_USER, "age": 40, "item": "4", "timestamp": 60, "history": ["3"]}


def test_each_run_parameter_is_a_property_of_its_own():
    names = ("data_directory", "window_from", "window_to", "window_last_days", "input_fingerprint")
    parameters = {
        name: RuntimeParameter(name=name, ptype=int if name == "window_last_days" else str) for name in names
    }
    component = InteractionIngest(SPEC, IngestConfig(), **parameters)
    assert {name: component.exec_properties[name] for name in names} == parameters
    others = InteractionIngest(SPEC, IngestConfig(window=WindowConfig(last_days=7)), **parameters)
    assert others.exec_properties["ingest_config"] == component.exec_properties["ingest_config"]
    # A limit is no choice of days, and stays.
    limited = IngestConfig(window=WindowConfig(last_days=7, maximum_missing_days=2))
    properties = InteractionIngest(SPEC, limited, **parameters).exec_properties
    window = json.loads(properties["ingest_config"])["window"]
    assert window == {"first": None, "last": None, "last_days": None, "maximum_missing_days": 2}


def test_cut_off_and_defaults_for_what_is_in_no_table(tmp_path, read_rows):
    log = [("new", 7, 10, 5, "tv"), ("bob", 1, 20, 5, "tv"), ("new", 2, 30, 5, "tv"), ("new", 8, 31, 5, "tv")]
    write_tables(tmp_path / "data", log)
    # Leftovers of a run that was killed.
    for leftover in (
        "sequences/ingest-work/half.arrow",
        "sequences/sequences-00009-of-00010.parquet",
        "contexts/Split-validation/examples-00009-of-00010.gz",
    ):
        path = tmp_path / leftover
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    moment = datetime.datetime(1970, 1, 1, 0, 0, 30, tzinfo=datetime.UTC)
    config = IngestConfig(split=CutOffSplit(kind="cut_off", time=moment), missing_metadata="default")
    report = ingest(tmp_path, config)
    train = read_rows(tmp_path / "sequences", SPEC, "train")
    assert [(row["user"], row["item"], row["age"]) for row in train] == [("bob", "1", 31), ("new", "7", 40)]
    held_out = read_rows(tmp_path / "sequences", SPEC, "eval")
    assert [(row["item"], row["history"]) for row in held_out] == [("2", ["", "7"]), ("8", ["7", "2"])]
    catalogue = pq.read_table(tmp_path / "catalogue" / "catalogue.parquet")
    assert catalogue.column("item").to_pylist() == ["4", "3", "2", "1", "7", "8"]
    assert catalogue.column("price").to_pylist()[4:] == [9.5, 9.5]
    items = {row["item"][0]: (row["price"], row["train_rows"]) for row in read_entities(tmp_path, "items")}
    assert (items["7"], items["8"], items["1"]) == (([9.5], [1]), ([9.5], [0]), ([1.0], [1]))
    assert (report["unknown_users"], report["unknown_items"], report["items"]) == (1, 2, 6)


@pytest.mark.parametrize(
    ("log", "config", "message"),
    [
        (
            [("nobody", 1, 1, 5, "tv"), ("bob", 9, 2, 5, "tv"), ("bob", 1, 3, 5, "tv")],
            IngestConfig(),
            r"2 interactions have no metadata: 1 users are not in users\.parquet, such as 'nobody'; "
            r"1 items are not in items\.parquet, such as '9'",
        ),
        (
            LOG,
            IngestConfig(positives=PositiveRule(column="stars", at_least=6)),
            "no positives are left of 9 interactions; dropped: below_positive_rule: 7, line_break_in_id: 1, "
            "null_id: 1",
        ),
        ([("bob", 1, 1, 5, "tv")], IngestConfig(), "the eval split is empty"),
    ],
)
def test_errors_found_by_beam_are_raised_in_the_components_own_process(tmp_path, log, config, message):
    write_tables(tmp_path / "data", log)
    with pytest.raises(DataError, match=message):
        ingest(tmp_path, config)
    assert not (tmp_path / "catalogue").exists()
    assert not (tmp_path / "sequences" / "ingest-work").exists()


def test_a_context_feature_without_default_refuses_missing_values(tmp_path, monkeypatch):
    features = [json.loads(to_json(feature)) for feature in SPEC.features]
    features[-1]["default"] = None
    spec = parse(FeatureSpec, {**json.loads(to_json(SPEC)), "features": features}, source="test")
    monkeypatch.setitem(globals(), "SPEC", spec)
    write_tables(tmp_path / "data")
    with pytest.raises(DataError, match=r"interactions\.parquet: values are missing .* in 'device' \(1\)"):
        ingest(tmp_path, IngestConfig())


def test_a_damaged_page_is_an_error_that_names_the_file(tmp_path):
    write_tables(tmp_path / "data", many_rows(), many_users(), compression="GZIP")
    path = tmp_path / "data" / "interactions.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(2)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + 30 : start + column.total_compressed_size] = b"\x00" * (column.total_compressed_size - 30)
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"400 of 400 rows are .* unreadable_row_group: 400 \(such as .*parquet, row group 0: ",
    ):
        ingest(tmp_path, IngestConfig())


@pytest.mark.parametrize("join", ["broadcast", "shuffle"])
def test_without_user_and_item_tables_the_ids_are_those_of_the_log(tmp_path, monkeypatch, join):
    ids = [dataclasses.asdict(feature) for feature in SPEC.features if feature.role is not None]
    spec = parse(FeatureSpec, {"name": "log", "history": {"length": 2}, "features": ids}, source="test")
    monkeypatch.setitem(globals(), "SPEC", spec)
    monkeypatch.setattr(interactions, "bucket_count", lambda rows: 3)
    data = tmp_path / "data"
    write_tables(data)
    (data / "users.parquet").unlink()
    (data / "items.parquet").unlink()
    report = ingest(tmp_path, IngestConfig(join=join))
    # Of the log's nine rows two have an id that cannot be used; each user's newest row is held out.
    assert report["dropped"] == {"line_break_in_id": 1, "null_id": 1}
    assert (report["train_rows"], report["eval_rows"], report["users"], report["items"]) == (5, 2, 2, 4)
    assert (report["unknown_users"], report["unknown_items"]) == (0, 0)
    assert report["files"]["users"] == report["files"]["items"] == []
    users = {row["user"][0]: row["train_rows"] for row in read_entities(tmp_path, "users")}
    assert users == {EVAL_OF_ODD_USER: [4], "bob": [1]}
    items = {row["item"][0]: row["train_rows"] for row in read_entities(tmp_path, "items")}
    # 4 at 10, 1 and 2 at 20, 3 at 50 and, held out, 4 at 60; bob's 2 at 5 and, held out, 1 at 10.
    assert items == {"1": [1], "2": [2], "3": [1], "4": [1]}
    catalogue = pq.read_table(tmp_path / "catalogue")
    assert catalogue.to_pydict() == {"item": ["1", "2", "3", "4"]}
