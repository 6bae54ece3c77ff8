"""The verdict, and the rules that it follows from."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.run_report.blocks import Block, Cell, Section, Table, Text, Tone
from components.run_report.figures import count_cell, figure_cell, interval_cell


def describe_verdict(evaluation: Mapping[str, Any]) -> Section:
    """Say the verdict in a sentence, and on what it rests.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    protocol = evaluation["protocol"]
    blocks = [
        Text(evaluation["gate"]["sentence"], tone="good" if evaluation["blessed"] else "bad", leads=True),
        Text(_describe_scope(evaluation)),
        Text(_describe_candidates(protocol)),
        *(Text(text) for text in _describe_limits(protocol, evaluation["users"])),
    ]
    return Section("verdict", "Verdict", blocks)


def describe_gate(evaluation: Mapping[str, Any]) -> Section:
    """List the rules of the gate with what decided them.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    rows = [
        [
            Cell(rule["text"]),
            _verdict_cell(rule["passed"]),
            *_figure_cells(rule),
            Cell(rule["reason"] or ""),
        ]
        for rule in evaluation["gate"]["rules"]
    ]
    blocks: list[Block] = [
        Text(describe_released(evaluation["released"])),
        Table(
            "The gate's rules. A model is released where no rule is broken. An interval is one of 95 %; the "
            "rule on groups of users has a wider one, of 95 % for all groups together.",
            ("rule", "verdict", "figure [interval]", "bound", "why"),
            rows,
        ),
    ]
    return Section("gate", "Rules of the gate", blocks)


def describe_released(released: Mapping[str, Any] | None) -> str:
    """Say which release the model is compared with, or why it is compared with none.

    Args:
        released: `released` of RetrievalEvaluator's document.

    Returns:
        A sentence or two.
    """
    if released is None:
        return "There is no release yet, so there is nothing to compare with."
    if not released["is_compared"]:
        version = "" if released["version"] is None else f", version {released['version']}"
        return f"Not compared with the current release{version}: {released['reason'].rstrip('.')}."
    return (
        f"The current release is version {released['version']}, model {released['model_id']}. It was "
        "evaluated again, for the same users."
    )


def _figure_cells(rule: Mapping[str, Any]) -> list[Cell]:
    value, bound = rule["value"], rule["bound"]
    if rule["name"] == "users":
        return [count_cell(int(value)), count_cell(int(bound))]
    none = Cell("none", tone="quiet")
    return [none if value is None else interval_cell(rule), none if bound is None else figure_cell(bound)]


def _verdict_cell(passed: bool | None) -> Cell:
    if passed is None:
        return Cell("not judged", tone="quiet")
    tone: Tone = "good" if passed else "bad"
    return Cell("kept" if passed else "broken", tone=tone)


def _describe_scope(evaluation: Mapping[str, Any]) -> str:
    users, of = evaluation["users"], evaluation["users_sampled_of"]
    sample = f"{users:,} users" if of is None else f"a sample of {users:,} of {of:,} users"
    return (
        f"Evaluated on {sample} with {evaluation['held_out']:,} held-out interactions, each ranked among all "
        f"{evaluation['catalogue_items']:,} items. Model {evaluation['model_id']}."
    )


def _describe_candidates(protocol: Mapping[str, Any]) -> str:
    text = (
        "Candidates: new items only. What a user already has is left out of the ranking and is no target."
        if protocol["candidates"] == "new"
        else "Candidates: all items, those that a user already has among them."
    )
    held_out, repeated, without = (
        protocol["repeats"][name] for name in ("held_out", "repeated", "users_without_target")
    )
    found = f"{repeated:,} ({100 * repeated / held_out:.1f} %)" if repeated else "none"
    text += f" Of {held_out:,} held-out interactions {found} are repeats of an item that the user had"
    return f"{text}; {without:,} users are left without a target." if without else f"{text}."


def _describe_limits(protocol: Mapping[str, Any], users: int) -> Iterator[str]:
    """Say what makes the figures higher than they will be in use."""
    if protocol["leaks_time"]:
        yield (
            "Time leaks: some of what is held out is no newer than the newest interaction in train, so that "
            "the figures are higher than they will be in use. A split by time has no such leak."
        )
    short = {k: count for k, count in protocol["users_who_find_all"].items() if count}
    if short:
        counts = ", ".join(f"{count:,} of {users:,} at K = {k}" for k, count in short.items())
        yield (
            "Users with no more items left to rank than the list is long find everything, whatever the "
            f"model: {counts}."
        )
