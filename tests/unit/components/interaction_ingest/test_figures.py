import pyarrow as pa
import pytest

from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.figures import count_cut_values, count_figures, describe_figures
from components.interaction_ingest.item_rows import add_counts, count_items, list_items, write_counts
from components.interaction_ingest.user_sequences import build_sequences
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

DAY = 86_400
# 2026-11-22 is day 20,779.
NOVEMBER_22 = 20_779


def sequences_of(spec, log):
    """Of (user, item, second) rows in the order of time; each user's newest is held out."""
    users, items, times = zip(*log, strict=True)
    rows = pa.record_batch(
        {
            "uid": list(users),
            "iid": list(items),
            "at": pa.array(times, pa.int64()),
            "device": ["web"] * len(log),
            "#file": pa.array([0] * len(log), pa.int32()),
            "#row": pa.array(range(len(log)), pa.int64()),
        }
    )
    known = [pa.array(sorted(set(ids))) for ids in (users, items)]
    return build_sequences([rows], *known, spec, IngestConfig())[0]


def test_figures_of_two_buckets_add_up(spec, tmp_path):
    start = NOVEMBER_22 * DAY
    # u has 4 train rows on two days, v 1, w none beside a single one that is train.
    first = sequences_of(
        spec, [("u", item, start + place * DAY // 2) for place, item in enumerate(["a", "b", "a", "a", "c"])]
    )
    second = sequences_of(spec, [("v", "a", start - 1), ("w", "b", start + 5), ("v", "c", start + 9)])
    counts = merge_counts([count_figures(one, "at") for one in (first, second)])
    counts = IngestCounts.from_json(counts.to_json())
    assert counts.users_by_train_rows == {2: 1, 0: 2}

    paths = [tmp_path / "0", tmp_path / "1"]
    for path, sequences in zip(paths, (first, second), strict=True):
        write_counts(count_items(sequences), path)
    # Of the train rows of both buckets a has 4 and b 2; c is held out, and x is nowhere.
    of_items = add_counts(paths, pa.array(["x", "c", "b", "a"]))["train_rows"]
    found = describe_figures(counts, of_items)
    edges = [2**power for power in range(24)]
    assert found == {
        "train_positives_per_user": {"edges": edges, "counts": [2, 0, 1] + [0] * 21},
        "train_positives_per_item": {"edges": edges, "counts": [0, 1, 1] + [0] * 21},
        "train_positives_per_day": {"2026-11-21": 1, "2026-11-22": 3, "2026-11-23": 2},
    }


def test_the_last_bin_holds_all_larger_numbers():
    found = describe_figures(IngestCounts(), pa.array([2**23 - 1, 2**23, 2**40, 1, 3]).to_numpy())
    counts = found["train_positives_per_item"]["counts"]
    assert (counts[0], counts[1], counts[22], counts[23], sum(counts)) == (1, 1, 1, 2, 5)


def test_only_the_newest_400_days_are_listed(spec):
    log = [("u", "a", day * DAY) for day in range(402)]
    days = merge_counts(
        [count_figures(sequences_of(spec, log[half::2]), "at") for half in (0, 1)]
    ).train_rows_by_day
    # The newest row of each half, of the days 400 and 401, is held out.
    assert sorted(days) == [*range(400)]
    counts = merge_counts([count_figures(sequences_of(spec, [*log, ("u", "a", 402 * DAY)]), "at")])
    assert sorted(counts.train_rows_by_day) == [*range(2, 402)]


def test_the_rows_of_each_item_are_added_up_bucket_by_bucket(spec, tmp_path):
    first = sequences_of(spec, [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "c", 4)])
    second = sequences_of(spec, [("v", "b", 1), ("v", "d", 2)])
    paths = [tmp_path / "0", tmp_path / "1"]
    for path, sequences in zip(paths, (first, second), strict=True):
        write_counts(count_items(sequences), path)
    # c and d stand in no train row, x in no row at all.
    found = add_counts(paths, pa.array(["x", "d", "c", "b", "a"]))
    assert found["train_rows"].tolist() == [0, 0, 0, 2, 2]
    assert found["validation_rows"].tolist() == [0] * 5
    # Where there is no item table, the catalogue has what is held out, too.
    assert list_items(paths).to_pylist() == ["a", "b", "c", "d"]


def test_values_beyond_the_limit_are_counted_once_for_each_item():
    vocabulary = {"kind": "vocabulary"}
    data = {
        "name": "shop",
        "history": {"item_features": ["tags", "brand"], "values_per_item": 2},
        "features": [
            {"name": "uid", "dtype": "string", "tower": "user", "role": "user_id"},
            {"name": "iid", "dtype": "string", "tower": "item", "role": "item_id", "encoding": vocabulary},
            {"name": "brand", "dtype": "string", "tower": "item", "encoding": vocabulary},
            {
                "name": "tags",
                "dtype": "string",
                "tower": "item",
                "multi_valued": True,
                "encoding": vocabulary,
            },
        ],
    }
    items = pa.table(
        {
            "iid": ["a", "b", "c"],
            "brand": ["X", "Y", ""],
            # a has one too many, c two of the three that are not empty.
            "tags": pa.array([["s", "t", "u"], [], ["", "v", "w", "x"]], pa.list_(pa.string())),
        }
    )
    assert count_cut_values(items, parse(FeatureSpec, data, source="test")) == {"tags": 2}
    # The tables' columns may be parts of larger ones.
    assert count_cut_values(items.slice(1), parse(FeatureSpec, data, source="test")) == {"tags": 1}
    wide = {**data, "history": {"item_features": ["tags"], "values_per_item": 3}}
    assert count_cut_values(items, parse(FeatureSpec, wide, source="test")) == {}
