"""The gate's verdicts on models that are known to be worse, as good, or untrained."""

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.gate import CHANCE_LEVEL, NoRival, Rival, judge, normal_interval
from components.retrieval_evaluator.intervals import Resamples
from pipeline.datasets.synthetic import write_synthetic
from schemas.features import Feature, FeatureSpec, History, VocabularyEncoding
from schemas.ranking import (
    ItemSets,
    choose_targets,
    compute_metrics,
    rank_by_common_scores,
    rank_in_blocks,
    score_by_inner_product,
)
from trainer.config import ModelConfig, TrainerConfig, TrainingConfig
from trainer.data.batches import FEATURES, BatchMaker, TrainingData
from trainer.data.sequences import FlatSequences, Rows
from trainer.strategy import configure_devices, create_strategy
from trainer.training import train
from trainer.vocabularies import EncodedSize

pytestmark = pytest.mark.integration

SEEDS = 10
K = 20
METRIC = f"recall_at_{K}"
VOCABULARY = VocabularyEncoding(kind="vocabulary")
SPEC = FeatureSpec(
    name="planted",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id"),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ),
    history=History(length=10),
)
FIRST = NoRival("there is no release yet", is_first=True)


@dataclass(frozen=True)
class Log:
    """The interactions of each user in the order of time, the latest held out."""

    offsets: np.ndarray
    items: np.ndarray
    item_count: int

    @classmethod
    def of(cls, users, items, item_count):
        """Make one of pairs that are in the order of time."""
        order = np.argsort(users, kind="stable")
        counts = np.bincount(users)
        counts = counts[counts > 0]
        return cls(np.concatenate([[0], np.cumsum(counts)]), items[order].astype(np.int32), item_count)

    @property
    def begins(self):
        return self.offsets[:-1]

    @property
    def ends(self):
        """Where a user's train rows end; who has one interaction alone keeps it."""
        return self.offsets[1:] - (np.diff(self.offsets) > 1)

    def to_training_data(self, share=1.0):
        """Train on the rows of a share of the users."""
        is_left_out = np.random.default_rng(0).random(len(self.begins)) >= share
        begins = np.where(is_left_out, self.ends, self.begins)
        ids = np.arange(self.item_count)
        return TrainingData(
            sequences=FlatSequences(self.offsets, self.items),
            users={},
            items={"item_id": ids},
            item_count=self.item_count,
            train=Rows.between(begins, self.ends),
            history_items={"history": ids},
        )


def train_model(log, seed, tmp_path, share=1.0, **training):
    """Train towers on a history alone."""
    config = TrainerConfig(
        model=ModelConfig(dim=16, user_layers=(), item_layers=(), history_encoders=("mean", "last")),
        training=TrainingConfig(
            **{"per_replica_batch": 1024, "epochs": 5, "learning_rate": 0.03, "seed": seed} | training
        ),
    )
    configure_devices(config.training)
    sizes = {"item_id": EncodedSize(log.item_count, 1)}
    data = log.to_training_data(share)
    return train(data, SPEC, config, sizes, create_strategy(1), log_directory=str(tmp_path)).towers


def measure(log, towers):
    """Give the metric of each user, the model's and the baselines'."""
    data = log.to_training_data()
    users = np.flatnonzero(log.ends < log.offsets[1:])
    queries = Rows.between(log.ends, log.offsets[1:])
    gather = BatchMaker(data, SPEC).of_rows(queries)
    embedded = towers.user(gather(tf.range(len(users), dtype=tf.int64))[FEATURES], training=False).numpy()
    items = towers.item({"item_id": tf.range(log.item_count)}, training=False).numpy()

    owners = np.repeat(np.arange(len(users)), (log.ends - log.begins)[users])
    known = np.concatenate([log.items[log.begins[user] : log.ends[user]] for user in users])
    chosen = choose_targets(
        ItemSets.of_one(log.items[log.ends[users]]), ItemSets.from_pairs(owners, known, len(users)), "new"
    )
    ranks = rank_in_blocks(
        score_by_inner_product(embedded[chosen.queries], items), chosen.targets, chosen.masked, len(items)
    ).ranks
    positions = data.train.positions()
    popularity = np.bincount(log.items[positions], minlength=log.item_count)
    by_popularity, by_chance = (
        rank_by_common_scores(scores, chosen.targets, chosen.masked)
        for scores in (popularity, 0 * popularity)
    )
    metrics = [
        compute_metrics(found, chosen.targets, (K,))[METRIC] for found in (ranks, by_popularity, by_chance)
    ]
    return Measured(*metrics)


@dataclass(frozen=True)
class Measured:
    """The metric of each user."""

    own: np.ndarray
    popularity: np.ndarray
    chance: np.ndarray


def decide(measured, released=None):
    config = EvaluationConfig(baselines=())
    own = measured.own
    resamples = Resamples(len(own))
    rival = FIRST
    if released is not None:
        rival = Rival(1, float(released.own.mean()), resamples.interval(own - released.own), ())
    baselines = {
        "chance": normal_interval(own - measured.chance, CHANCE_LEVEL),
        "popularity": resamples.interval(own - measured.popularity),
    }
    return judge(resamples.interval(own), baselines, rival, config, METRIC, len(own))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth")
    write_synthetic(folder, users=8_000, items=1_500, interactions=60_000, days=60, seed=7)
    table = pq.read_table(folder / "interactions.parquet").sort_by("timestamp")
    users = table["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    items = table["item_id"].combine_chunks().dictionary_encode()
    return Log.of(users, items.indices.to_numpy(), len(items.dictionary))


def test_a_model_of_half_of_the_data_is_refused_and_one_of_another_seed_accepted(log, tmp_path):
    whole, halves = (
        [measure(log, train_model(log, seed, tmp_path, share=share)) for seed in range(SEEDS)]
        for share in (1.0, 0.5)
    )
    # Each is judged beside two releases, those of the seeds before it: it is the trainings that take long.
    pairs = [(seed, (seed - back) % SEEDS) for seed in range(SEEDS) for back in (1, 2)]
    accepted = [decide(whole[seed], released=whole[before]).blessed for seed, before in pairs]
    refused = [not decide(halves[seed], released=whole[before]).blessed for seed, before in pairs]
    assert len(pairs) == 20
    assert sum(accepted) >= 19
    assert sum(refused) >= 19


def make_equal_log(generator):
    """Every item has 15 interactions in train, in any order, so that popularity knows nothing."""
    train = generator.permutation(np.repeat(np.arange(60), 15)).reshape(180, 5)
    items = np.concatenate([train, generator.integers(0, 60, (180, 1))], axis=1)
    return Log.of(np.repeat(np.arange(180), 6), items.ravel(), 60)


def make_zipf_log(generator):
    """Popularity is all that there is to know."""
    share = 1 / np.arange(1, 201)
    return Log.of(np.repeat(np.arange(600), 8), generator.choice(200, 4_800, p=share / share.sum()), 200)


def make_cycle_log(generator):
    """What comes next follows from the last item; every item is as popular as the others."""
    starts = generator.integers(0, 100, 500)
    items = (starts[:, np.newaxis] + np.arange(8)) % 100
    return Log.of(np.repeat(np.arange(500), 8), items.ravel(), 100)


def make_cluster_log(generator):
    """Each user keeps to one of five groups of 30 items."""
    groups = np.repeat(generator.integers(0, 5, 500), 8)
    return Log.of(np.repeat(np.arange(500), 8), groups * 30 + generator.integers(0, 30, 4_000), 150)


@pytest.mark.parametrize("make", [make_zipf_log, make_cycle_log, make_cluster_log])
def test_an_untrained_model_is_never_blessed(make, tmp_path):
    log = make(np.random.default_rng(3))
    verdict = decide(
        measure(log, train_model(log, 1, tmp_path, epochs=1, learning_rate=1e-12, per_replica_batch=64))
    )
    assert not verdict.blessed


def test_an_untrained_model_of_synthetic_data_is_never_blessed(log, tmp_path):
    assert not decide(measure(log, train_model(log, 1, tmp_path, epochs=1, learning_rate=1e-12))).blessed


def test_where_every_item_is_as_popular_popularity_is_chance_and_no_model_is_blessed(tmp_path):
    log = make_equal_log(np.random.default_rng(3))
    found = measure(log, train_model(log, 1, tmp_path, epochs=1, learning_rate=1e-12, per_replica_batch=64))
    np.testing.assert_allclose(found.popularity, found.chance)
    # 20 places for the items that a user has not seen: 55 of 60 where the five are different ones.
    assert found.chance.max() == pytest.approx(20 / 55)
    assert found.chance.min() >= 20 / 59
    assert not decide(found).blessed
