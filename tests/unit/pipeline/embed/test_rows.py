import pytest

from components.interaction_ingest.counts import merge_counts
from pipeline.embed.rows import read_rows
from pipeline.embed.table import choose_source, open_table

pytestmark = pytest.mark.unit

INPUTS = {"age", "city", "device", "seen", "seen_gap_seconds"}


@pytest.fixture
def read_users(spec, tmp_path):
    """Read a file of users: rows, counts with those of the rejections, and the texts of these."""

    def read(name, text):
        (tmp_path / name).write_text(text)
        source = choose_source(spec, "users", name, None)
        table = open_table(spec, "users", source, str(tmp_path), INPUTS, now=0.0)
        rows, counts, texts = [], [], []
        for piece in table.pieces:
            for part, counted, rejections in read_rows(piece, table):
                rows += part.to_pylist()
                counts += [counted, *(each.count() for each in rejections)]
                texts += [text for each in rejections for text in each.letters["text"].to_pylist()]
        return rows, merge_counts(counts), texts

    return read


def test_defaults_stand_in_and_what_is_malformed_is_counted(read_users):
    rows, counts, texts = read_users(
        "t.csv", "person,age,city\n1,20,Ulm\n2,,Bonn\n,30,Rome\n4,old,Rome\n5,50,Rome\n"
    )
    assert rows == [
        {"user": "1", "age": 20, "city": "Ulm", "device": "web"},
        {"user": "2", "age": 30, "city": "Bonn", "device": "web"},
        {"user": "5", "age": 50, "city": "Rome", "device": "web"},
    ]
    assert counts.rows == {"read": 5}
    assert counts.filled == {"age": 1}
    assert counts.dropped.total() == 2
    assert counts.dropped["wrong_type"] == 1
    assert len(texts) == 2
    assert "old" in "".join(texts)


def test_a_value_without_a_default_is_told(read_users):
    _, counts, _ = read_users("t.jsonl", '{"person": 7, "age": 20}\n{"person": 8, "age": 21, "city": "x"}\n')
    assert counts.missing == {"city": 1}
    assert counts.filled == {"device": 2}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "t.csv",
            "person,age,city,seen,seen_seconds\n1,20,x,i|j,10|20\n2,20,x,,\n3,20,x,i|j,10\n4,20,x,i,soon\n",
        ),
        (
            "t.jsonl",
            '{"person": 1, "age": 20, "city": "x", "seen": ["i", "j"], "seen_seconds": [10, 20]}\n'
            '{"person": 2, "age": 20, "city": "x", "seen": [], "seen_seconds": []}\n'
            '{"person": 3, "age": 20, "city": "x", "seen": ["i", "j"], "seen_seconds": [10]}\n'
            '{"person": 4, "age": 20, "city": "x", "seen": ["i"], "seen_seconds": "soon"}\n'
            '{"person": 5, "age": 20, "city": "x", "seen": ["i", null], "seen_seconds": [10, 20]}\n',
        ),
    ],
)
def test_histories_have_a_time_for_each_item(read_users, name, text):
    rows, counts, _ = read_users(name, text)
    assert [(row["user"], row["seen"] or [], row["seen_seconds"] or []) for row in rows] == [
        ("1", ["i", "j"], [10, 20]),
        ("2", [], []),
    ]
    rejected = text.count("\n") - (1 if name == "t.csv" else 0) - 2
    assert counts.dropped == {"wrong_type": rejected}
    assert counts.rows["read"] == 2 + rejected
