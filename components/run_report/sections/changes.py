"""What changed since the last release, for all users and for some that are looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.run_report.blocks import Block, Cell, NamedList, Person, Section, Table, Text
from components.run_report.figures import count_cell, figure_cell, show_figure


def describe_changes(evaluation: Mapping[str, Any]) -> Section:
    """Say how much the lists differ from those of the last release, and for which items.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    changes = evaluation.get("changes")
    if not changes:
        why = (
            "no release yet, so there is nothing to compare with"
            if not evaluation.get("released")
            else ("the last release could not be asked")
        )
        return Section(
            "changes", "Changes since the last release", [Text(f"Not compared: {why}.", tone="quiet")]
        )
    blocks: list[Block] = [
        Text(
            f"Of the first 10 items of a list, {show_figure(changes.get('overlap_at_10'))} on average were "
            f"in the same user's list of release {changes['version']} too (share of 10, mean over users)."
        )
    ]
    for key, caption in (
        ("gained", "Items that are in more users' lists than before"),
        ("lost", "Items that are in fewer users' lists than before"),
    ):
        if changes.get(key):
            blocks.append(
                Table(
                    f"{caption} (lists of 10).",
                    ("item", "users before", "users now"),
                    [
                        [Cell(_name(item)), count_cell(item["before"]), count_cell(item["now"])]
                        for item in changes[key]
                    ],
                )
            )
    if changes.get("users"):
        blocks.append(
            Table(
                "The users whose lists changed most.",
                ("user", "share of 10 that stayed"),
                [[Cell(str(user["user"])), figure_cell(user["overlap"])] for user in changes["users"]],
            )
        )
    return Section("changes", "Changes since the last release", blocks)


def describe_samples(evaluation: Mapping[str, Any]) -> Section:
    """Show some users with their history and their lists.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    samples = evaluation.get("samples")
    blocks: Sequence[Block] = (
        [_describe_person(sample) for sample in samples]
        if samples
        else [Text("The evaluation's document holds no users.", tone="quiet")]
    )
    return Section("users", "Sample users", blocks)


def _describe_person(sample: Mapping[str, Any]) -> Person:
    held_out = {item["item"] for item in sample.get("held_out") or ()}
    lists = [
        NamedList("history, newest first", _list_items(sample.get("history"))),
        NamedList("held out", _list_items(sample.get("held_out"))),
        NamedList("this model", _list_items(sample.get("recommended"), held_out)),
    ]
    if sample.get("released") is not None:
        lists.append(NamedList("last release", _list_items(sample["released"], held_out)))
    note = ", ".join(f"{name}: {value}" for name, value in (sample.get("features") or {}).items())
    return Person(f"User {sample['user']}", note, lists)


def _list_items(
    items: Sequence[Mapping[str, Any]] | None, held_out: set[Any] | frozenset[Any] = frozenset()
) -> list[Cell]:
    return [
        Cell(f"{_name(item)} (held out)", tone="good") if item["item"] in held_out else Cell(_name(item))
        for item in items or ()
    ]


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("title") or item["item"])
