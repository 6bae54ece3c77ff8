"""The gate's verdicts on models that are known to be worse, as good, or untrained."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.gate import NoRival, Rival, judge
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

SEEDS = 2
METRIC = "recall_at_50"
VOCABULARY = VocabularyEncoding(kind="vocabulary")
SPEC = FeatureSpec(
    name="planted",
    features=(
        Feature(name="user_id", dtype="string", tower="user", role="user_id"),
        Feature(name="item_id", dtype="string", tower="item", role="item_id", encoding=VOCABULARY),
    ),
    history=History(length=10),
)
FIRST = NoRival("There is no release yet", is_first=True)


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
    config = TrainerConfig(
        model=ModelConfig(dim=16, user_layers=(), item_layers=(), history_encoders=("mean", "last")),
        training=TrainingConfig(
            **{"per_replica_batch": 256, "epochs": 6, "learning_rate": 0.02, "seed": seed} | training
        ),
    )
    configure_devices(config.training)
    sizes = {"item_id": EncodedSize(log.item_count, 1)}
    data = log.to_training_data(share)
    return train(data, SPEC, config, sizes, create_strategy(1), log_directory=str(tmp_path)).towers


def measure(log, towers):
    """Give the metric of each user, the model's and popularity's."""
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
    by_popularity = rank_by_common_scores(popularity, chosen.targets, chosen.masked)
    return [compute_metrics(found, chosen.targets, (50,))[METRIC] for found in (ranks, by_popularity)]


def decide(own, popularity, released=None):
    config = EvaluationConfig(baselines=("popularity",))
    resamples = Resamples(len(own))
    rival = FIRST
    if released is not None:
        rival = Rival(1, float(released.mean()), resamples.interval(own - released), ())
    baselines = {"popularity": resamples.interval(own - popularity)}
    return judge(resamples.interval(own), baselines, rival, config, METRIC)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth")
    write_synthetic(folder, users=3_000, items=400, interactions=30_000, days=60, seed=7)
    table = pq.read_table(folder / "interactions.parquet").sort_by("timestamp")
    users = table["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    items = table["item_id"].combine_chunks().dictionary_encode()
    return Log.of(users, items.indices.to_numpy(), len(items.dictionary))


def test_a_model_of_half_of_the_data_is_refused_and_one_of_another_seed_accepted(log, tmp_path):
    whole = [measure(log, train_model(log, seed, tmp_path)) for seed in range(SEEDS + 1)]
    halves = [measure(log, train_model(log, seed, tmp_path, share=0.5)) for seed in range(SEEDS)]
    accepted = [
        decide(*after, released=before[0]).blessed
        for before, after in zip(whole[:-1], whole[1:], strict=True)
    ]
    refused = [
        not decide(*half, released=before[0]).blessed
        for before, half in zip(whole[:-1], halves, strict=True)
    ]
    print(np.mean([m[0].mean() for m in whole]), np.mean([m[0].mean() for m in halves]), len(whole[0][0]), sum(accepted), sum(refused))
    assert sum(accepted) >= SEEDS - 1
    assert sum(refused) >= SEEDS - 1
