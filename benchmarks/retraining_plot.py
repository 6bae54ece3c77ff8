"""Draws the recall of a simulated month by day."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_LINES: Final = (
    ("cold", "cold, every day", "#7a7a7a", "o"),
    ("warm", "warm, from the last release", "#1f6fb4", "o"),
    ("frozen", "frozen on day 1", "#c4541b", "s"),
)


def plot_recall(days: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw Recall@50 on each day's held-out interactions.

    Args:
        days: The days of the simulation, as the benchmark keeps them.
        path: The file; its ending says the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    # So that equal figures give equal files.
    matplotlib.rcParams["svg.hashsalt"] = "retraining"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9.0, 4.4), layout="constrained")
    for name, label, colour, marker in _LINES:
        points = [(one["day"], value) for one in days if (value := _read(one, name)) is not None]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=label)
    for one in days:
        if one["fault"] is not None:
            axes.axvline(one["day"], color="#d9d9d9", linewidth=1, zorder=0)
            axes.text(one["day"], 0.004, f"{one['fault']} ", rotation=90, va="bottom", ha="right", fontsize=8)
    axes.set_xlabel("day")
    axes.set_ylabel("Recall@50 on the day's interactions")
    axes.set_xlim(0.5, len(days) + 0.5)
    axes.set_ylim(bottom=0.0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper left", ncols=len(_LINES), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _read(day: Mapping[str, Any], name: str) -> float | None:
    if "warm" not in day:
        return None
    if name == "warm":
        warm = day["warm"]
        value = warm["recall" if warm["status"] == "released" else "released_recall"]
    elif "cold" in day:
        value = day["cold"]["recall" if name == "cold" else "released_recall"]
    else:
        # On day 1 all three are the same model.
        value = day["warm"]["recall"]
    return None if value is None else float(value)
