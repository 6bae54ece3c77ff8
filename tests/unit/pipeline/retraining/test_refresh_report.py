import dataclasses
import json

import pytest

from pipeline.retraining.refresh_index import Refresh
from pipeline.retraining.refresh_report import refresh_to_json, render_refresh

pytestmark = pytest.mark.unit

REFRESH = Refresh(
    release=3,
    pushed=5,
    items_before=1_200,
    items_after=1_201,
    new=2,
    gone=1,
    changed=3,
    changed_features={"genres": 2, "year": 1},
    shown_otherwise=4,
    unknown_values={"item_id": 2, "genres": 1},
    unknown_new=2,
    unknown_changed=1,
    without_vocabulary=("brand",),
    dropped={"bad_row": 1},
    filled={"year": 6},
    positives_left_out=8,
    search="Search is exact: the catalogue has 1,201 items, fewer than 20,000.",
)
DUE = (
    "A training is due: 2 of 2 new items and 1 of 3 changed items have values that no training has seen and "
    "that are encoded as unknown (item_id 2, genres 1)."
)


def test_what_changed_and_that_a_training_is_due():
    assert render_refresh(REFRESH, is_dry_run=False).splitlines() == [
        "Items: 1,200 in release 3, 1,201 now: 2 new, 1 gone, 3 with changed features (genres 2, year 1)",
        "Shown otherwise, with the same features: 4 items",
        "Rows of the item table dropped (bad_row 1)",
        "Defaults filled in (year 6)",
        "Left out of the known users' histories: 8 positives with items that are gone",
        "Pushed release 5, with the towers of release 3.",
        "Release 3 does not keep the vocabulary of brand: whether new values are in it is not known.",
        DUE,
    ]


def test_as_json():
    found = json.loads(refresh_to_json(REFRESH))
    assert found["training_due"] == DUE
    assert (found["release"], found["pushed"], found["unknown_values"]) == (3, 5, {"item_id": 2, "genres": 1})
    assert (
        json.loads(refresh_to_json(dataclasses.replace(REFRESH, unknown_values={})))["training_due"] is None
    )


def test_nothing_to_do_and_a_dry_run():
    same = Refresh(3, None, 9, 9, 0, 0, 0, {}, 0, {}, 0, 0, (), {}, {})
    assert render_refresh(same, is_dry_run=False).splitlines() == [
        "Items: 9 in release 3, 9 now: 0 new, 0 gone, 0 with changed features",
        "Nothing to do: release 3 has these very items.",
    ]
    dry = dataclasses.replace(REFRESH, pushed=None)
    assert "Would push a new release with the towers of release 3." in render_refresh(dry, is_dry_run=True)
