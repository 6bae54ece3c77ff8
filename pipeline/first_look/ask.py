"""The questions of `dssm init --interactive`."""

import dataclasses
from collections.abc import Sequence

import click

from pipeline.first_look.plan import Plan, plan_project
from pipeline.first_look.roles import Wishes


def ask_for_columns(plan: Plan, paths: Sequence[str], wishes: Wishes) -> Plan:
    """Ask which columns of the log are users, items and times; what was found is the default.

    Args:
        plan: What was found.
        paths: The tables.
        wishes: What was said already, which is not asked for again.

    Returns:
        The plan, made anew where an answer differs.
    """
    found = {
        "user_column": plan.roles.users.log_column,
        "item_column": plan.roles.items.log_column,
        "time_column": plan.roles.time.name,
    }
    choices = click.Choice(list(plan.roles.log.columns))
    answers = {
        name: click.prompt(f"Column of the {name.removesuffix('_column')}s", default=column, type=choices)
        for name, column in found.items()
        if getattr(wishes, name) is None
    }
    changed = {name: answer for name, answer in answers.items() if answer != found[name]}
    if not changed:
        return plan
    return plan_project(paths, plan.name, dataclasses.replace(wishes, **changed))
