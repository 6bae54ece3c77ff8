import json
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.interaction_ingest.counts import IngestCounts
from components.interaction_ingest.dead_letters import (
    DeadLetter,
    DeadLetterWriter,
    make_rejections,
    refuse_too_many,
    reject_rows,
)
from schemas.errors import DataError

pytestmark = pytest.mark.unit

LETTERS = [
    DeadLetter("too_many_fields", "log.csv", 7, text="a,b,c"),
    DeadLetter("too_many_fields", "log.csv", 3, rows=2, text="x" * 9_999),
    DeadLetter("unreadable_row_group", "log.parquet", None, 4, 100, "no such page"),
]


def test_dead_letters_are_added_up():
    counts = make_rejections("interactions", LETTERS, unread_bytes=50).count()
    assert counts.rows == {"read": 103}
    assert counts.dropped == {"too_many_fields": 3, "unreadable_row_group": 100}
    assert counts.examples == {
        "too_many_fields": "log.csv, row 7: a,b,c",
        "unreadable_row_group": "log.parquet, row group 4: no such page",
    }
    assert counts.unread_bytes == 50


def test_a_retry_replaces_what_was_written_and_a_failure_leaves_nothing(tmp_path):
    path = tmp_path / "letters" / "part.parquet"

    def write(letters, name):
        with DeadLetterWriter(path, tmp_path / "work" / name) as writer:
            for letter in letters:
                writer.write(make_rejections("users", [letter]))

    write(LETTERS, "first")
    write(LETTERS, "second")
    rows = pq.read_table(path).to_pylist()
    assert [(row["table"], row["row"], row["row_group"], row["rows"]) for row in rows] == [
        ("users", 7, None, 1),
        ("users", 3, None, 2),
        ("users", None, 4, 100),
    ]
    assert len(rows[1]["text"]) == 4096
    path.unlink()
    writer = DeadLetterWriter(path, tmp_path / "work" / "third")
    writer.write(make_rejections("users", LETTERS))
    writer.__exit__(KeyError, KeyError(), None)
    assert not path.exists()
    with DeadLetterWriter(path, tmp_path / "work" / "fourth"):
        pass
    assert not path.exists()


def counts(read, unread_bytes=0, **dropped):
    examples = {reason: f"log.csv, row {count}: {reason}?" for reason, count in dropped.items()}
    return IngestCounts(
        rows=Counter(read=read), dropped=Counter(dropped), unread_bytes=unread_bytes, examples=examples
    )


def test_a_limit_on_rows_and_on_bytes():
    # Rows of other days and no positives are not malformed.
    fine = counts(1000, null_id=4, wrong_type=6, outside_window=500, below_positive_rule=480)
    refuse_too_many("log.csv", fine, 10_000, 0.01)
    refuse_too_many("log.csv", counts(0), 0, 0.0)
    refuse_too_many("log.csv", counts(10, unread_bytes=100, unreadable_rest=0), 10_000, 0.01)
    message = (
        "log.csv: 15 of 1,000 rows are malformed, up to 1.5%. Expected at most 0.01 of them "
        "(ingest.maximum_rejected_fraction). Most frequent: wrong_type: 6 (such as log.csv, row 6: "
        "wrong_type?); null_id: 5 (such as log.csv, row 5: null_id?); empty_id: 3 (such as log.csv, row 3: "
        "empty_id?). Correct"
    )
    too_many = counts(1000, null_id=5, wrong_type=6, empty_id=3, invalid_utf8=1, outside_window=500)
    with pytest.raises(DataError, match=re.escape(message)):
        refuse_too_many("log.csv", too_many, 10_000, 0.01)
    # One unreadable file stands for a single row, but for many bytes.
    lost = counts(1000, unread_bytes=2_500, unreadable_file=1)
    with pytest.raises(
        DataError, match=r"1 of 1,000 rows .* and 2,500 of 10,000 bytes cannot be read, up to 25%"
    ):
        refuse_too_many("log.csv", lost, 10_000, 0.1)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            "other_list_syntax",
            r"\(such as log.csv, row 9: .*\)\. Lists such as .* need list_format: json .* Correct",
        ),
        (
            "out_of_range_timestamp",
            r"counted in tables\.interactions\.unit .*: s, ms, us, ns, yyyymmdd, or auto",
        ),
        ("invalid_utf8", r"in another encoding need it under 'encoding'"),
    ],
)
def test_what_to_set_is_told_with_the_reason(reason, remedy):
    with pytest.raises(DataError, match=remedy):
        refuse_too_many("log.csv", counts(10, **{reason: 9}), 100, 0.01)


def test_rows_with_values_that_python_has_none_for_are_shown():
    texts = pa.array([b"ok", b"\xff", b"x"]).buffers()
    child = pa.Array.from_buffers(pa.string(), 3, texts)
    batch = pa.record_batch(
        {
            "tags": pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), child),
            "kind": pa.DictionaryArray.from_arrays(pa.array([0, 1]), child),
            "at": pa.array([1, 2**62], pa.timestamp("us")),
        }
    )
    bad = np.array([False, True])
    keep, [letter] = reject_rows(batch, {"invalid_utf8": bad}, np.array([7, 8]), "log.parquet", 3)
    assert keep.tolist() == [True, False]
    assert (letter.reason, letter.row, letter.row_group) == ("invalid_utf8", 9, 3)
    assert json.loads(letter.text) == {"tags": [r"\xff", "x"], "kind": r"\xff", "at": 2**62}
