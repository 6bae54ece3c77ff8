"""The verdict, and the rules that it follows from."""

from collections.abc import Mapping
from typing import Any

from components.run_report.blocks import Block, Cell, Section, Table, Text, Tone
from components.run_report.figures import figure_cell, interval_cell


def describe_verdict(evaluation: Mapping[str, Any]) -> Section:
    """Say the verdict in a sentence, and on what it rests.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    is_blessed = bool(evaluation["blessed"])
    sentence = (evaluation.get("gate") or {}).get("sentence")
    if not sentence:
        sentence = (
            "Blessed: the model may be released." if is_blessed else "Not blessed: nothing is released."
        )
    blocks: list[Block] = [
        Text(sentence, tone="good" if is_blessed else "bad", leads=True),
        Text(_describe_scope(evaluation)),
    ]
    protocol = evaluation.get("protocol")
    if protocol:
        blocks += [Text(text) for text in _describe_protocol(protocol)]
    return Section("verdict", "Verdict", blocks)


def describe_gate(evaluation: Mapping[str, Any]) -> Section:
    """List the rules of the gate with what decided them.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    rules = (evaluation.get("gate") or {}).get("rules")
    blocks: list[Block] = []
    released = evaluation.get("released")
    if released:
        fair = "on the same queries" if released.get("is_fair") else "which is no fair rival for this run"
        reason = f": {released['reason']}" if released.get("reason") else ""
        blocks.append(Text(f"The last release is version {released['version']}, {fair}{reason}."))
    if rules:
        rows = [
            [
                Cell(rule.get("text") or rule["name"]),
                interval_cell(rule),
                figure_cell(rule.get("bound")),
                _verdict_cell(rule.get("passed")),
                Cell(rule.get("reason") or ""),
            ]
            for rule in rules
        ]
        blocks.append(
            Table(
                "The gate's rules. A model is released where no rule is broken.",
                ("rule", "figure [95 % interval]", "bound", "verdict", "why"),
                rows,
            )
        )
    else:
        blocks.append(Text("The evaluation's document holds no rules.", tone="quiet"))
    return Section("gate", "Rules of the gate", blocks)


def _verdict_cell(passed: bool | None) -> Cell:
    if passed is None:
        return Cell("not judged", tone="quiet")
    tone: Tone = "good" if passed else "bad"
    return Cell("kept" if passed else "broken", tone=tone)


def _describe_scope(evaluation: Mapping[str, Any]) -> str:
    users, of = evaluation["users"], evaluation.get("users_sampled_of")
    sample = f"{users:,} users" if of is None else f"a sample of {users:,} of {of:,} users"
    return (
        f"Evaluated on {sample} with {evaluation['held_out']:,} held-out interactions, each ranked among all "
        f"{evaluation['catalogue_items']:,} items. Model {evaluation['model_id']}."
    )


def _describe_protocol(protocol: Mapping[str, Any]) -> list[str]:
    texts = []
    candidates = protocol.get("candidates")
    if candidates == "new":
        texts.append(
            "Candidates: new items only. What a user already has is left out of the ranking and is no target."
        )
    elif candidates == "all":
        texts.append("Candidates: all items, those that a user already has among them.")
    repeats = protocol.get("repeats")
    if repeats:
        held_out, repeated = repeats["held_out"], repeats["repeated"]
        share = f" ({100 * repeated / held_out:.1f} %)" if held_out else ""
        text = f"Of {held_out:,} held-out interactions {repeated:,}{share} are repeats"
        if repeats.get("users_without_target"):
            text += f"; {repeats['users_without_target']:,} users are left without a target"
        texts.append(f"{text}.")
    if protocol.get("leaks_time"):
        texts.append(
            "The split is within each user, so that training saw interactions later than some that are held "
            "out: the figures are higher than they will be in use."
        )
    return texts
