"""MovieLens' download with the real pip, from a local folder instead of a package index."""

import dataclasses
import hashlib
import zipfile

import pyarrow.parquet as pq
import pytest

from pipeline.datasets import movielens
from schemas.errors import DataError

pytestmark = pytest.mark.integration

LINES = {
    "inter": ("user_id:token\titem_id:token\trating:float\ttimestamp:float", "{0}\t{0}\t3\t{0}", 100_000),
    "user": (
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        "{0}\t9\tF\tx\t00001",
        943,
    ),
    "item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        "{0}\tA\t1990\tWar",
        1_682,
    ),
}


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that pip takes for recbole 1.2.1, in the only folder that pip looks into."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "recbole-1.2.1-py3-none-any.whl"
    info = "recbole-1.2.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for suffix, (header, line, rows) in LINES.items():
            text = "\n".join([header, *(line.format(row) for row in range(rows))])
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{suffix}", text)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def test_the_wheel_that_pip_downloads_becomes_three_tables(wheel, tmp_path, monkeypatch):
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(movielens, "WHEEL", dataclasses.replace(movielens.WHEEL, sha256=sha256))
    assert movielens.fetch_movielens_100k(tmp_path / "out")
    assert pq.read_metadata(tmp_path / "out" / "interactions.parquet").num_rows == 100_000


def test_another_file_of_that_name_is_refused_by_its_hash(wheel, tmp_path):
    with pytest.raises(
        DataError, match=r"(?s)Cannot download recbole==1\.2\.1.*Expected sha256 9c994820.*Got"
    ):
        movielens.fetch_movielens_100k(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_download_that_fails_is_one_clear_error(wheel, tmp_path):
    wheel.unlink()
    with pytest.raises(DataError, match=r"(?s)Check the network.*pip says:.*No matching distribution"):
        movielens.fetch_movielens_100k(tmp_path / "out")
    assert not (tmp_path / "out").exists()
