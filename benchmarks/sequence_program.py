"""One training of SASRec or gSASRec by RecTools, for benchmarks/quality.py.

Runs in an environment of its own (`make sequence-models`), which has RecTools and PyTorch and none of this
project's dependencies; of the project it imports `schemas.ranking` alone, which needs NumPy. RecTools'
`SASRecModel` has the block of SASRec's authors (Kang & McAuley 2018) and, as one of its losses, gBCE (Petrov
& Macdonald 2023). The settings are those that gSASRec's authors published for MovieLens-1M, for both models
(github.com/asash/gSASRec-pytorch); theirs has an item table of its own for the output, RecTools' has not.

Each training sees a user's last 201 positives, as the published ones do.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from ranked_lists import rank_in_lists
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.similarity import DistanceSimilarityModule

from schemas.ranking import METRICS, ItemSets

SESSION_ITEMS = 200
SETTINGS = {
    "n_factors": 128,
    "n_blocks": 2,
    "n_heads": 1,
    "dropout_rate": 0.5,
    "batch_size": 128,
    "lr": 1e-3,
}
LOSSES = {
    "sasrec": {"loss": "BCE", "n_negatives": 1},
    "gsasrec": {"loss": "gBCE", "n_negatives": 256, "gbce_t": 0.75},
}
"""As gSASRec's authors train both."""
CHOICE_METRIC, CHOICE_K = "ndcg", 10
"""What they stop early by."""
STEPS_PER_ROUND = 50
"""After about so many steps, at least an epoch, the validation is looked at."""
PATIENCE_ROUNDS = 10
MOST_ROUNDS = 200
MOST_GATHERED_ITEMS = 10_000
"""Catalogues up to this size are scored whole and the negatives' scores taken from it."""


class GatheredLogits(DistanceSimilarityModule):
    """Scores the whole catalogue and takes the candidates' scores.

    The same scores as RecTools', which gathers each candidate's embedding first: with 256 negatives at every
    position, many times the memory and the time on a processor.
    """

    def _get_pos_neg_logits(
        self, session_embs: torch.Tensor, item_embs: torch.Tensor, candidate_item_ids: torch.Tensor
    ) -> torch.Tensor:
        return self._get_full_catalog_logits(session_embs, item_embs).gather(-1, candidate_item_ids)


def make_dataset(log: Mapping[str, np.ndarray]) -> Dataset:
    """Make RecTools' data set of known interactions.

    Args:
        log: `offsets` [users + 1] and `items` [positions], each user's in time.

    Returns:
        The data set, its ids the numbers of users and items.
    """
    positions = np.arange(len(log["items"]))
    users = np.repeat(np.arange(len(log["offsets"]) - 1), np.diff(log["offsets"]))
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: users,
                Columns.Item: log["items"],
                Columns.Weight: 1.0,
                # The order is all that is read of the times, and equal ones would lose it.
                Columns.Datetime: pd.to_datetime(positions, unit="s"),
            }
        )
    )


def build_model(name: str, task: Mapping[str, np.ndarray], seed: int) -> SASRecModel:
    """Build a model with the published settings.

    Args:
        name: `sasrec` or `gsasrec`.
        task: The known interactions, and the size of the catalogue.
        seed: Of weights, dropout, order and negatives.

    Returns:
        The model.
    """
    pytorch_lightning.seed_everything(seed)
    loss: dict[str, Any] = LOSSES[name]
    gathers = loss["n_negatives"] > 1 and task["item_count"] <= MOST_GATHERED_ITEMS
    similarity = GatheredLogits if gathers else DistanceSimilarityModule
    # What would be padding of every user costs as much as items.
    longest = min(SESSION_ITEMS, int(np.diff(task["offsets"]).max()))
    return SASRecModel(**SETTINGS, **loss, session_max_len=longest, similarity_module_type=similarity)


def list_items(
    model: SASRecModel, dataset: Dataset, users: np.ndarray, k: int, *, masks_seen: bool
) -> np.ndarray:
    """List the best items of some users.

    Args:
        model: The trained model.
        dataset: What is known.
        users: [queries] numbers of the users.
        k: How many items.
        masks_seen: Whether those that the user has are left out.

    Returns:
        [queries, k] int32 items; -1 where the model knows no more, as of a user without a known item.
    """
    found = model.recommend(users, dataset, k, filter_viewed=masks_seen, on_unsupported_targets="ignore")
    lists = np.full((len(users), k), -1, np.int32)
    rows = np.searchsorted(users, found[Columns.User].to_numpy())
    lists[rows, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    return lists


def choose_epochs(model: SASRecModel, task: Mapping[str, np.ndarray], most_seconds: float) -> dict[str, Any]:
    """Train until the NDCG on validation no longer rises.

    Args:
        model: The model.
        task: The known interactions, and the queries with their targets.
        most_seconds: Begin no further round after so many.

    Returns:
        `epochs`, that of the best round, `quality`, that of every round, and `limited`, whether the
        seconds or the rounds ended it.
    """
    dataset = make_dataset(task)
    targets = ItemSets(task["target_offsets"], task["target_items"])
    steps_per_epoch = math.ceil((np.diff(task["offsets"]) >= 2).sum() / SETTINGS["batch_size"])
    epochs_per_round = math.ceil(STEPS_PER_ROUND / steps_per_epoch)
    quality: list[float] = []
    best, started = 0, time.monotonic()
    while len(quality) - best <= PATIENCE_ROUNDS:
        if len(quality) >= MOST_ROUNDS or time.monotonic() - started > most_seconds:
            break
        model.fit_partial(dataset, min_epochs=epochs_per_round, max_epochs=epochs_per_round)
        lists = list_items(model, dataset, task["users"], CHOICE_K, masks_seen=bool(task["masks_seen"]))
        quality.append(float(METRICS[CHOICE_METRIC](rank_in_lists(lists, targets), targets, CHOICE_K).mean()))
        best = int(np.argmax(quality)) + 1
        print(f"round {len(quality)}: {quality[-1]:.4f} after {time.monotonic() - started:.0f} s", flush=True)
    return {
        "epochs": best * epochs_per_round,
        "quality": quality,
        "limited": len(quality) - best <= PATIENCE_ROUNDS,
    }


def main() -> None:
    """Choose the number of epochs, or train for as many and list items; write what came out."""
    parser = argparse.ArgumentParser(description="One training of benchmarks/quality.py by RecTools.")
    parser.add_argument("--model", required=True, choices=LOSSES)
    parser.add_argument("--task", required=True, type=Path, help="what benchmarks/quality.py has written")
    parser.add_argument("--epochs", type=int, help="leave out to find the best number of them")
    parser.add_argument("--most-seconds", type=float, default=math.inf, help="of the search for it")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--lists", type=Path, help="where the lists go")
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    with np.load(arguments.task) as file:
        task = dict(file)
    model = build_model(arguments.model, task, arguments.seed)
    started = time.monotonic()
    if arguments.epochs is None:
        result = choose_epochs(model, task, arguments.most_seconds)
    else:
        dataset = make_dataset(task)
        model.fit_partial(dataset, min_epochs=arguments.epochs, max_epochs=arguments.epochs)
        k, masks_seen = int(task["k"]), bool(task["masks_seen"])
        np.save(arguments.lists, list_items(model, dataset, task["users"], k, masks_seen=masks_seen))
        result = {"seconds": time.monotonic() - started}
    arguments.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
