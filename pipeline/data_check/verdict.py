"""What the figures of a data check say: what stops a run, what is doubtful, and what is only told."""

from dataclasses import dataclass
from typing import Final, Literal

from pipeline.config import PipelineConfig
from pipeline.data_check.figures import DataFigures

Level = Literal["error", "warning"]
"""Whether the run would stop, or its result is doubtful."""

_MANY_TIES: Final = 0.2
_MANY_DUPLICATES: Final = 0.05
_MANY_COLD_ITEMS: Final = 0.3
_MANY_COLD_USERS: Final = 0.5
_MANY_DROPPED: Final = 0.3
_FEW_EVALUATED: Final = 30


@dataclass(frozen=True)
class Finding:
    """Something that should be looked at."""

    level: Level
    """How bad it is."""
    code: str
    """A word for programs."""
    text: str
    """What was found and what to do."""


def judge(figures: DataFigures, config: PipelineConfig) -> list[Finding]:
    """Say what of the figures should be looked at.

    Args:
        figures: The figures.
        config: The settings that they were made with.

    Returns:
        The findings, errors first.
    """
    found: list[Finding] = []
    if figures.refusal:
        # What a sample shows need not be true of the whole.
        found.append(Finding("error" if figures.is_whole else "warning", "refused", figures.refusal))
    batch = config.training.per_replica_batch
    if figures.is_whole and 0 < figures.splits["train"] < batch:
        found.append(
            Finding(
                "error",
                "batch_too_large",
                f"The train split has {figures.splits['train']:,} rows, and a step takes {batch:,}: lower "
                "training.per_replica_batch.",
            )
        )
    return [*found, *_judge_times(figures), *_judge_split(figures, config), *_judge_rows(figures)]


def _judge_times(figures: DataFigures) -> list[Finding]:
    found = []
    if figures.doubtful_times:
        found.append(Finding("warning", "suspicious_times", f"Times: {figures.doubtful_times}."))
    if figures.tied_users_share > _MANY_TIES:
        found.append(
            Finding(
                "warning",
                "ties",
                f"{figures.tied_users_share:.1%} of the users have interactions in one second; their order "
                "is that of the rows in the files. See that it is the true one, or write times with a "
                "fraction.",
            )
        )
    if figures.duplicate_share > _MANY_DUPLICATES:
        found.append(
            Finding(
                "warning",
                "duplicates",
                f"{figures.duplicate_share:.1%} of the positives repeat another one's user, item and second: "
                "set ingest.repeated, or remove them.",
            )
        )
    return found


def _judge_split(figures: DataFigures, config: PipelineConfig) -> list[Finding]:
    found = []
    if figures.cold_items_share > _MANY_COLD_ITEMS:
        found.append(
            Finding(
                "warning",
                "cold_items",
                f"{figures.cold_items_share:.1%} of the held-out positives are with items that no train row "
                "has; only features can find them. Hold out less, or give the items features.",
            )
        )
    if figures.cold_users_share > _MANY_COLD_USERS:
        found.append(
            Finding(
                "warning",
                "cold_users",
                f"{figures.cold_users_share:.1%} of the users with held-out positives have no train row: "
                "hold out by ingest.split.kind latest_per_user, or fewer days.",
            )
        )
    if 0 < figures.splits["eval"] < _FEW_EVALUATED:
        found.append(
            Finding(
                "warning",
                "few_held_out",
                f"{figures.splits['eval']:,} positives are held out, of which little can be told: hold out "
                "more, or give more data.",
            )
        )
    for name, reason in figures.leaks.items():
        found.append(
            Finding("warning", "leak", f"Feature {name}: {reason}. Leave it out of the schema file.")
        )
    return found


def _judge_rows(figures: DataFigures) -> list[Finding]:
    dropped = sum(figures.dropped.values())
    if dropped <= _MANY_DROPPED * figures.rows_read:
        return []
    return [
        Finding(
            "warning",
            "many_dropped",
            f"{dropped:,} of {figures.rows_read:,} interactions are dropped: see the reasons above.",
        )
    ]
