"""What is written in a file of each format, and the value that is read of it."""

import datetime
import decimal
import io
import json
import uuid

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.reading.table_files import look_into_files
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import Column
from components.interaction_ingest.sources.reading import read_piece
from schemas.errors import ConfigError
from schemas.features import Feature, FeatureSpec, InteractionTable
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

ID = {"dtype": "string", "tower": "user", "role": "user_id"}
LABEL = {"dtype": "string", "tower": "item"}
LABELS = {**LABEL, "multi_valued": True}
INT = {"dtype": "int", "tower": "item"}
FLOAT = {"dtype": "float", "tower": "item"}
VECTOR = {**FLOAT, "length": 2}
TIME = None
# What ingest.positives and ingest.weight compare.
RULE = "rule"
D = decimal.Decimal
# 2020-09-13T12:26:40Z, by `date -ud @1600000000`.
SECOND = 1_600_000_000
NOON = datetime.datetime(2020, 9, 13, 12, 26, 40)
DAY = 1_599_955_200
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def write_csv(fields):
    return "\n".join(["x,n", *(f"{field},1" for field in fields)]).encode()


def write_jsonl(values):
    return "\n".join(json.dumps({"x": value, "n": 1}) for value in values).encode()


def write_parquet(values):
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": values, "n": [1] * len(values)}), sink)
    return sink.getvalue()


def write_avro(given):
    kind, values = given
    fields = [{"name": "x", "type": ["null", kind]}, {"name": "n", "type": "int"}]
    sink = io.BytesIO()
    rows = [{"x": value, "n": 1} for value in values]
    fastavro.writer(sink, {"type": "record", "name": "Row", "fields": fields}, rows)
    return sink.getvalue()


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet, "avro": write_avro}


def read(tmp_path, ending, content, feature, **options):
    """Read the column `x`: its values, and the reasons for which rows are left out."""
    (tmp_path / f"log.{ending}").write_bytes(content)
    table = InteractionTable(file=f"log.{ending}", timestamp="x" if feature is TIME else "t", **options)
    if feature in (TIME, RULE):
        column = Column("x", "x", "timestamp" if feature is TIME else "number")
    else:
        column = Column("x", "x", "feature", Feature(name="x", **feature))
    looked = look_into_files(table, "interactions", find_files(table, str(tmp_path)), [column])
    values, reasons = [], []
    for piece in looked.with_unit(table.unit).pieces:
        for batch, rejections in read_piece(piece, table, "interactions", [column], []):
            rows = batch.to_pylist()
            whole = [row["x"] for row in rows]
            if feature is TIME:
                whole = [row["x"] + row["#microsecond"] / 1e6 for row in rows]
            values += whole
            reasons += rejections.letters.column("reason").to_pylist()
    return values, reasons


CASES = {
    "ids as integers of every size": (
        ID,
        {},
        {
            "csv": ["0", "1700000000000000004", "18446744073709551615"],
            "jsonl": [0, 1700000000000000004, 18446744073709551615],
            "parquet": pa.array([0, 1700000000000000004, 18446744073709551615], pa.uint64()),
            "avro": ("string", ["0", "1700000000000000004", "18446744073709551615"]),
        },
        ["0", "1700000000000000004", "18446744073709551615"],
    ),
    "ids as whole floats, as pandas writes them beside missing values": (
        ID,
        {},
        {
            "csv": ["123.0", "-4.0", ""],
            "jsonl": [123.0, -4.0, None],
            "parquet": pa.array([123.0, -4.0, float("nan")]),
            "avro": ("double", [123.0, -4.0, None]),
        },
        ["123", "-4", None],
    ),
    "ids as floats beyond what is exact, or with a fraction": (
        ID,
        {},
        {
            "csv": ["7", "1.7000000000000000e+18"],
            "jsonl": [7.0, 1.7e18, 1.5],
            "parquet": pa.array([7.0, 1.7e18, 1.5]),
            "avro": ("double", [7.0, 1.7e18, 1.5]),
        },
        ["7"],
    ),
    "ids as decimals": (
        ID,
        {},
        {
            "csv": ["5.0"],
            "parquet": pa.array([D("5.00")], pa.decimal128(20, 2)),
            "avro": (
                {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
                [D("5.00")],
            ),
        },
        ["5"],
    ),
    "ids as the bytes of UUIDs": (
        ID,
        {},
        {
            "csv": [str(UUID)],
            "jsonl": [str(UUID)],
            "parquet": pa.array([UUID.bytes], pa.binary(16)),
            "avro": ({"type": "fixed", "name": "Id", "size": 16}, [UUID.bytes]),
        },
        [str(UUID)],
    ),
    "ids as the bytes of texts": (
        ID,
        {},
        {"csv": ["ünï"], "parquet": pa.array(["ünï".encode()]), "avro": ("bytes", ["ünï".encode()])},
        ["ünï"],
    ),
    "ids as texts that look like numbers": (
        ID,
        {},
        {
            "csv": ["007", "1.50", "1e5"],
            "jsonl": ["007", "1.50", "1e5"],
            "parquet": pa.array(["007", "1.50", "1e5"]),
            "avro": ("string", ["007", "1.50", "1e5"]),
        },
        ["007", "1.50", "1e5"],
    ),
    "integers written with a fraction of zero": (
        INT,
        {},
        {
            "csv": ["25.0", "3", "", "7.5"],
            "jsonl": [25.0, 3, None, 7.5],
            "parquet": pa.array([25.0, 3.0, float("nan"), 7.5]),
            "avro": ("double", [25.0, 3.0, None, 7.5]),
        },
        [25, 3, None],
    ),
    "integers as texts": (
        INT,
        {},
        {
            "csv": [" 25 ", "9007199254740993"],
            "jsonl": [" 25 ", "9007199254740993"],
            "parquet": pa.array([" 25 ", "9007199254740993"]),
            "avro": ("string", [" 25 ", "9007199254740993"]),
        },
        [25, 2**53 + 1],
    ),
    "booleans as integers": (
        INT,
        {},
        {
            "csv": ["True", "false"],
            "jsonl": [True, False],
            "parquet": pa.array([True, False]),
            "avro": ("boolean", [True, False]),
        },
        [1, 0],
    ),
    "booleans as labels": (
        LABEL,
        {},
        {
            "csv": ["true", "false"],
            "jsonl": [True, False],
            "parquet": pa.array([True, False]),
            "avro": ("boolean", [True, False]),
        },
        ["true", "false"],
    ),
    "numbers as labels": (
        LABEL,
        {},
        {
            "csv": ["3", "1.5"],
            "jsonl": [3, 1.5],
            "parquet": pa.array([3.0, 1.5]),
            "avro": ("double", [3.0, 1.5]),
        },
        ["3", "1.5"],
    ),
    "labels with line breaks": (
        LABEL,
        {},
        {
            "csv": ['"Toys\r"', '"Home \n and\r\nGarden"', "Books "],
            "jsonl": ["Toys\r", "Home \n and\r\nGarden", "Books "],
            "parquet": pa.array(["Toys\r", "Home \n and\r\nGarden", "Books "]),
            "avro": ("string", ["Toys\r", "Home \n and\r\nGarden", "Books "]),
        },
        ["Toys", "Home and Garden", "Books "],
    ),
    "numbers with a decimal comma": (
        FLOAT,
        {"decimal": ","},
        {
            "csv": ['"1,5"', "2", '"1.234,5"'],
            "jsonl": ["1,5", 2, "1.234,5"],
            "parquet": pa.array(["1,5", "2", "1.234,5"]),
            "avro": ("string", ["1,5", "2", "1.234,5"]),
        },
        [1.5, 2.0],
    ),
    "ratings with a decimal comma": (
        RULE,
        {"decimal": ","},
        {
            "csv": ['"4,5"', "3", '"4.5"'],
            "jsonl": ["4,5", 3, "4.5"],
            "parquet": pa.array(["4,5", "3", "4.5"]),
        },
        [4.5, 3.0],
    ),
    "lists with a separator": (
        LABELS,
        {},
        {
            "csv": ["A|B", "C", '""'],
            "jsonl": ["A|B", "C", ""],
            "parquet": pa.array(["A|B", "C", ""]),
            "avro": ("string", ["A|B", "C", ""]),
        },
        [["A", "B"], ["C"], []],
    ),
    "lists of labels with line breaks": (
        LABELS,
        {},
        {
            "csv": ['"7|A\r"', ""],
            "jsonl": [["7", "A\r"], None],
            "parquet": pa.array([["7", "A\r"], None]),
            "avro": ({"type": "array", "items": "string"}, [["7", "A\r"], None]),
        },
        [["7", "A"], None],
    ),
    "lists of numbers as labels": (
        LABELS,
        {},
        {
            "csv": ["7|8"],
            "jsonl": [[7, 8]],
            "parquet": pa.array([[7, 8]]),
            "avro": ({"type": "array", "items": "long"}, [[7, 8]]),
        },
        [["7", "8"]],
    ),
    "lists in another syntax than that of the schema file": (
        LABELS,
        {},
        {
            "csv": ['"[""Action"", ""Comedy""]"', "\"('a','b')\"", "(500) Days|[REC]", '"[]"', '"{a,b}"'],
            "jsonl": ['["Action", "Comedy"]', "('a','b')", "(500) Days|[REC]", "[]", "{a,b}"],
            "parquet": pa.array(['["Action", "Comedy"]', "('a','b')", "(500) Days|[REC]", "[]", "{a,b}"]),
            "avro": ("string", ['["Action", "Comedy"]', "('a','b')", "(500) Days|[REC]", "[]", "{a,b}"]),
        },
        [["(500) Days", "[REC]"]],
    ),
    "lists as JSON": (
        LABELS,
        {"list_format": "json"},
        {
            "csv": ['"[""Action"", ""Sci|Fi"", 7, true]"', '""'],
            "jsonl": ['["Action", "Sci|Fi", 7, true]', ""],
            "parquet": pa.array(['["Action", "Sci|Fi", 7, true]', ""]),
            "avro": ("string", ['["Action", "Sci|Fi", 7, true]', ""]),
        },
        [["Action", "Sci|Fi", "7", "true"], []],
    ),
    "lists as Python writes them": (
        LABELS,
        {"list_format": "python"},
        {
            "csv": ["\"['a', 'b']\"", "\"('c',)\"", "nonsense"],
            "jsonl": ["['a', 'b']", "('c',)", "nonsense"],
            "parquet": pa.array(["['a', 'b']", "('c',)", "nonsense"]),
            "avro": ("string", ["['a', 'b']", "('c',)", "nonsense"]),
        },
        [["a", "b"], ["c"]],
    ),
    "vectors as texts": (
        VECTOR,
        {"list_format": "json"},
        {
            "csv": ['"[0.5, 1]"'],
            "jsonl": ["[0.5, 1]"],
            "parquet": pa.array(["[0.5, 1]"]),
            "avro": ("string", ["[0.5, 1]"]),
        },
        [[0.5, 1.0]],
    ),
    "vectors with a decimal comma": (
        VECTOR,
        {"decimal": ",", "list_separator": ";"},
        {"csv": ['"0,5;1"'], "jsonl": ["0,5;1"], "parquet": pa.array(["0,5;1"])},
        [[0.5, 1.0]],
    ),
    "times as floats": (
        TIME,
        {},
        {
            "csv": [f"{SECOND}.0", f"{SECOND}.25", "1.6e9"],
            "jsonl": [float(SECOND), SECOND + 0.25, SECOND],
            "parquet": pa.array([SECOND, SECOND + 0.25, SECOND], pa.float64()),
            "avro": ("double", [SECOND, SECOND + 0.25, SECOND]),
        },
        [SECOND, SECOND + 0.25, SECOND],
    ),
    "times with a decimal comma": (
        TIME,
        {"decimal": ","},
        {
            "csv": [f'"{SECOND},25"', f"{SECOND}", f'"{SECOND},"', '"+1,6e9"', f"{SECOND}.25", "1.600"],
            "jsonl": [f"{SECOND},25", f" {SECOND} ", SECOND, SECOND + 0.0, f"{SECOND}.25", "1.600"],
            "parquet": pa.array(
                [f"{SECOND},25", f"{SECOND}", f"{SECOND},", "+1,6e9", f"{SECOND}.25", "1.600"]
            ),
            "avro": (
                "string",
                [f"{SECOND},25", f"{SECOND}", f"{SECOND},", "+1,6e9", f"{SECOND}.25", "1.600"],
            ),
        },
        [SECOND + 0.25, SECOND, SECOND, SECOND],
    ),
    "times in milliseconds with a decimal comma": (
        TIME,
        {"decimal": ",", "unit": "ms"},
        {"csv": [f'"{SECOND}250,5"'], "jsonl": [f"{SECOND}250,5"], "parquet": pa.array([f"{SECOND}250,5"])},
        [SECOND + 0.2505],
    ),
    "times as ISO 8601 beside numbers with a decimal comma": (
        TIME,
        {"decimal": ","},
        {
            "csv": [f'"{SECOND},5"', "2020-09-13 12:26:40.5", '"2020-09-13 12:26:40,5Z"'],
            "jsonl": [f"{SECOND},5", "2020-09-13 12:26:40.5", "2020-09-13 12:26:40,5Z"],
            "parquet": pa.array([f"{SECOND},5", "2020-09-13 12:26:40.5", "2020-09-13 12:26:40,5Z"]),
        },
        [SECOND + 0.5] * 3,
    ),
    "times as ISO 8601": (
        TIME,
        {},
        {
            "csv": ["2020-09-13T12:26:40Z", "2020-09-13", "2020-09-13 12:26:40.5+00:00"],
            "jsonl": ["2020-09-13T12:26:40Z", "2020-09-13", "2020-09-13 12:26:40.5+00:00"],
            "parquet": pa.array(["2020-09-13T12:26:40Z", "2020-09-13", "2020-09-13 12:26:40.5+00:00"]),
            "avro": ("string", ["2020-09-13T12:26:40Z", "2020-09-13", "2020-09-13 12:26:40.5+00:00"]),
        },
        [SECOND, DAY, SECOND + 0.5],
    ),
    "times as dates": (
        TIME,
        {},
        {
            "csv": ["2020-09-13"],
            "parquet": pa.array([datetime.date(2020, 9, 13)], pa.date32()),
            "avro": ({"type": "int", "logicalType": "date"}, [datetime.date(2020, 9, 13)]),
        },
        [DAY],
    ),
    "times in milliseconds": (
        TIME,
        {"unit": "ms"},
        {
            "csv": [f"{SECOND}250", f"{SECOND}000.0"],
            "jsonl": [SECOND * 1000 + 250, SECOND * 1000],
            "parquet": pa.array([SECOND * 1000 + 250, SECOND * 1000]),
            "avro": ("long", [SECOND * 1000 + 250, SECOND * 1000]),
        },
        [SECOND + 0.25, SECOND],
    ),
    "times in nanoseconds": (
        TIME,
        {"unit": "ns"},
        {
            "csv": [f"{SECOND}250000000"],
            "jsonl": [SECOND * 10**9 + 250_000_000],
            "parquet": pa.array([SECOND * 10**9 + 250_000_000]),
            "avro": ("long", [SECOND * 10**9 + 250_000_000]),
        },
        [SECOND + 0.25],
    ),
    "times as days of the calendar": (
        TIME,
        {"unit": "yyyymmdd"},
        {
            "csv": ["20200913", "20200230"],
            "jsonl": [20200913, 20200230],
            "parquet": pa.array([20200913, 20200230]),
            "avro": ("int", [20200913, 20200230]),
        },
        [DAY],
    ),
    "times in another form of text": (
        TIME,
        {"time_format": "%d.%m.%Y %H:%M"},
        {
            "csv": ["13.09.2020 00:00", "30.02.2020 00:00"],
            "jsonl": ["13.09.2020 00:00", "30.02.2020 00:00"],
            "parquet": pa.array(["13.09.2020 00:00", "30.02.2020 00:00"]),
            "avro": ("string", ["13.09.2020 00:00", "30.02.2020 00:00"]),
        },
        [DAY],
    ),
    "weekdays": (
        {**INT, "time_part": "weekday"},
        {},
        {
            "csv": ["2020-09-13T12:26:40Z", str(SECOND)],
            "jsonl": ["2020-09-13T12:26:40Z", str(SECOND)],
            "parquet": pa.array([NOON, NOON], pa.timestamp("ms")),
            "avro": ({"type": "long", "logicalType": "timestamp-millis"}, [NOON, NOON]),
        },
        # A Sunday.
        [6, 6],
    ),
    "days of times with a decimal comma": (
        {**FLOAT, "time_part": "days"},
        {"decimal": ","},
        # Noon of the first day, and six hours into the second.
        {"csv": ['"43200,0"', '"108000,0"'], "jsonl": ["43200,0", "108000,0"]},
        [0.5, 1.25],
    ),
    "days since 1970": (
        {**INT, "time_part": "days"},
        {},
        {
            "csv": ["2020-09-13T12:26:40Z"],
            "jsonl": [SECOND],
            "parquet": pa.array([datetime.date(2020, 9, 13)], pa.date32()),
        },
        [18_518],
    ),
}
REJECTED = {
    "ids as floats beyond what is exact, or with a fraction": ("wrong_type", {"csv": 1, "": 2}),
    "integers written with a fraction of zero": ("wrong_type", {"": 1}),
    "numbers with a decimal comma": ("wrong_type", {"": 1}),
    "ratings with a decimal comma": ("wrong_type", {"": 1}),
    "lists in another syntax than that of the schema file": ("other_list_syntax", {"": 4}),
    "lists as Python writes them": ("wrong_type", {"": 1}),
    "times with a decimal comma": ("wrong_type", {"": 2}),
    "times as days of the calendar": ("wrong_type", {"": 1}),
    "times in another form of text": ("wrong_type", {"": 1}),
}


@pytest.mark.parametrize(
    ("name", "ending"), [(name, ending) for name, (_, _, written, _) in CASES.items() for ending in written]
)
def test_what_is_written_is_read_as_the_same_value_in_every_format(tmp_path, name, ending):
    feature, options, written, expected = CASES[name]
    values, reasons = read(tmp_path, ending, WRITERS[ending](written[ending]), feature, **options)
    assert values == expected
    reason, counts = REJECTED.get(name, ("", {"": 0}))
    assert reasons == [reason] * counts.get(ending, counts[""])


def test_several_features_are_made_of_the_time_by_its_unit(tmp_path):
    spec = parse(
        FeatureSpec,
        {
            "name": "shop",
            "tables": {
                "interactions": {
                    "file": "log.csv",
                    "unit": "ms",
                    "columns": {"timestamp": "at", "hour": "at", "year": "at"},
                }
            },
            "history": {"name": "history"},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": {"kind": "vocabulary"},
                },
                {"name": "hour", "dtype": "int", "tower": "context", "time_part": "hour"},
                {"name": "year", "dtype": "float", "tower": "context", "time_part": "year"},
            ],
        },
        source="test",
    )
    log = spec.tables.interactions
    (tmp_path / "log.csv").write_text(f"at,user,item\n{SECOND}000,ann,1\n")
    columns = [
        Column("timestamp", "at", "timestamp"),
        *(Column(f.name, "at", "feature", f) for f in spec.features[2:]),
    ]
    looked = look_into_files(log, "interactions", find_files(log, str(tmp_path)), columns)
    [piece] = looked.with_unit("ms").pieces
    [(batch, _)] = read_piece(piece, log, "interactions", columns, [])
    assert [batch.column(name)[0].as_py() for name in ("timestamp", "hour", "year")] == [SECOND, 12, 2020.0]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"time_format": "%Q"}, r"time_format: expected the signs of Python's strptime.*'%Q'"),
        ({"time_format": "%H:%M"}, "time_format: expected one that tells year, month and day"),
        ({"encoding": "latin-99"}, "encoding: expected one that Python knows.*'latin-99'"),
        ({"delimiter": '"'}, "delimiter: expected no quotation mark"),
        ({"header": ["a", "a"]}, "header: expected a name for each column, each once"),
    ],
)
def test_keys_of_a_table_that_cannot_be(keys, message):
    with pytest.raises(ConfigError, match=message):
        parse(InteractionTable, keys, source="test")


def test_a_part_of_a_time_is_a_number():
    with pytest.raises(ConfigError, match="time_part gives a single number"):
        parse(Feature, {**LABEL, "name": "x", "time_part": "year"}, source="test")
