"""Whether a model may be released: rules, each with the figure and the interval that it rests on.

A model is blessed when every rule that applies is kept:

- there are enough users, and the release that its training began from has not seen what is held out;
- its metric is at least the floor;
- the interval of its difference to each baseline that is named, paired by user, lies above 0, that of
  chance at 99.9 %, so that no model is blessed that has learnt nothing;
- the interval of its difference to the released model on the same queries lies above minus the margin, so
  that "not worse" is shown and not only not disproved (a test of non-inferiority);
- in no group of users that is large enough is it worse than the released model by more than the groups'
  margin. With many groups some are worse by chance alone: an interval of a group is as wide as it takes for
  all of them together to hold (Bonferroni), and a group speaks against the model where its interval lies
  below 0;
- the approximate index beside it, where there is one, finds enough of what exact search finds.

Margins are shares of the released model's metric.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from components.ann_document import EXACT, AnnDocument
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.intervals import Interval
from schemas.contract import BLESSED_FILE, NOT_BLESSED_FILE
from schemas.ranking.metrics import show_metric

LEVEL: Final = 0.95
"""How often an interval holds the true value."""
CHANCE_LEVEL: Final = 0.999
"""The same of the difference to chance, which one in forty untrained models would beat at LEVEL."""


@dataclass(frozen=True)
class Rule:
    """One rule of the gate, and what became of it."""

    name: str
    """A word for programs: `users`, `unseen`, `floor`, `baseline:<name>`, `released`, `slices` or
    `ann`."""
    text: str
    """What is asked for, as a person reads it."""
    passed: bool | None
    """Whether it is kept; None: it does not apply, `reason` says why."""
    value: float | None = None
    """The figure that decides."""
    low: float | None = None
    """The lower end of its interval."""
    high: float | None = None
    """The upper end."""
    bound: float | None = None
    """What the figure, or the end of its interval, is held against."""
    reason: str | None = None
    """Why it does not apply, or what it found."""


@dataclass(frozen=True)
class Verdict:
    """What the gate decided."""

    blessed: bool
    """Whether the model may be released."""
    sentence: str
    """The decision in one sentence."""
    rules: tuple[Rule, ...]
    """Every rule, also those that did not apply."""


@dataclass(frozen=True)
class SliceDifference:
    """How a group of users fares with the model, against the released one."""

    name: str
    """What the group is."""
    differences: npt.NDArray[np.float64]
    """[users] the model's metric less the released model's, of each user."""


@dataclass(frozen=True)
class Rival:
    """The released model on the same queries."""

    version: int
    """The release."""
    metric: float
    """Its metric."""
    difference: Interval
    """The model's metric less its own."""
    slices: Sequence[SliceDifference]
    """The groups of users that are large enough to be judged."""


@dataclass(frozen=True)
class NoRival:
    """Why there is no released model to compare with."""

    reason: str
    """Such as that there is no release yet."""
    is_first: bool
    """Whether there is no release at all, so that nothing was to be compared with."""
    version: int | None = None
    """The release, where its manifest can be read."""
    model_id: str | None = None
    """The training that made it."""


@dataclass(frozen=True)
class Ancestry:
    """Whether the release that a training began from has seen what is held out now."""

    version: int
    """The release."""
    unfairness: str | None
    """Why its weights have seen it; None where they have not."""
    is_known: bool
    """Whether its manifest says what it was trained on."""


def judge(
    metric: Interval,
    baselines: Mapping[str, Interval],
    rival: Rival | NoRival,
    config: EvaluationConfig,
    deciding_metric: str,
    users: int,
    ancestry: Ancestry | None = None,
    ann: AnnDocument | None = None,
) -> Verdict:
    """Decide whether a model may be released.

    Args:
        metric: The model's deciding metric.
        baselines: By name, the model's metric less that baseline's; those of `deciding_baselines` decide, and
            one that could not be computed is not beaten.
        rival: The released model, or why there is none.
        config: The rules.
        deciding_metric: Name of the metric.
        users: Number of users that it is a mean over.
        ancestry: What the release has seen that the training began from; None: it began from nothing.
        ann: The approximate index; None: it is not judged.

    Returns:
        The verdict.
    """
    name = show_metric(deciding_metric)
    rules = [_judge_users(users, config.blessing_minimum_users)]
    if ancestry is not None:
        rules.append(_judge_ancestry(ancestry))
    rules.append(_judge_floor(metric, name, config.blessing_minimum))
    rules += [
        _judge_baseline(baseline, baselines.get(baseline), name) for baseline in config.deciding_baselines
    ]
    rules += _judge_released(rival, name, config)
    if ann is not None:
        rules.append(_judge_ann(ann))
    blessed = all(rule.passed is not False for rule in rules)
    return Verdict(blessed, _say(blessed, metric, name, rules, rival), tuple(rules))


def _judge_users(users: int, minimum: int) -> Rule:
    # The interval of a few users who all have the same value has no width, and tells nothing.
    return Rule(
        name="users",
        text=f"at least {minimum:,} users are evaluated",
        passed=users >= minimum,
        value=float(users),
        bound=float(minimum),
    )


def _judge_ancestry(ancestry: Ancestry) -> Rule:
    text = f"release {ancestry.version}, which the training began from, has not seen what is held out"
    if not ancestry.is_known:
        reason = "its manifest does not say what it was trained on"
        return Rule("unseen", text, None, reason=reason)
    return Rule("unseen", text, ancestry.unfairness is None, reason=ancestry.unfairness)


def _judge_floor(metric: Interval, name: str, minimum: float) -> Rule:
    return Rule(
        name="floor",
        text=f"{name} is at least {minimum:g}",
        passed=metric.value >= minimum,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        bound=minimum,
    )


def _judge_baseline(baseline: str, difference: Interval | None, name: str) -> Rule:
    text = f"{name} is above that of {baseline.replace('_', ' ')}: the interval of the difference is above 0"
    rule = f"baseline:{baseline}"
    if difference is None:
        return Rule(rule, text, False, reason="the baseline could not be computed")
    reason = None
    if difference.low <= 0 < difference.value:
        reason = "it is above, but so few users cannot tell it from chance"
    return Rule(
        name=rule,
        text=text,
        passed=difference.low > 0,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        bound=0.0,
        reason=reason,
    )


def _judge_released(rival: Rival | NoRival, name: str, config: EvaluationConfig) -> list[Rule]:
    if isinstance(rival, NoRival):
        is_refused = not rival.is_first and config.unfair_release == "refuse"
        reason = rival.reason
        if not rival.is_first:
            reason += f"; evaluation.unfair_release is {config.unfair_release!r}: " + (
                "nothing is released" if is_refused else "floor and baselines decide alone"
            )
        text = (
            f"{name} is not worse than the released model's by more than {config.blessing_margin:.0%} of it"
        )
        return [Rule("released", text, False if is_refused else None, reason=reason)]
    bound = -config.blessing_margin * rival.metric
    difference = rival.difference
    passed = difference.low >= bound
    unsure = "so few users cannot show that it is not worse: docs/evaluation.md says how many it takes"
    failure = "it is worse" if difference.high < 0 else unsure
    released = Rule(
        name="released",
        text=f"{name} is not worse than that of release {rival.version} by more than "
        f"{config.blessing_margin:.0%} of it: the interval of the difference is above {bound:.4f}",
        passed=passed,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        bound=bound,
        reason=None if passed else failure,
    )
    return [released, _judge_slices(rival, name, config)]


def _judge_slices(rival: Rival, name: str, config: EvaluationConfig) -> Rule:
    bound = -config.blessing_slice_margin * rival.metric
    text = (
        f"in no group of at least {config.slice_minimum_users} users is {name} worse than that of release "
        f"{rival.version} by more than {config.blessing_slice_margin:.0%} of it, with its interval below 0"
    )
    if not rival.slices:
        return Rule("slices", text, None, bound=bound, reason="no group is large enough")
    intervals = {
        part.name: simultaneous_interval(part.differences, len(rival.slices)) for part in rival.slices
    }
    worse = sorted(
        (part for part, found in intervals.items() if found.value < bound and found.high < 0),
        key=lambda part: intervals[part].value,
    )
    worst = worse[0] if worse else min(intervals, key=lambda part: intervals[part].value)
    found = intervals[worst]
    reason = f"the worst of {len(intervals)} is {worst}"
    if len(worse) > 1:
        reason += f"; worse by more than the margin are {', '.join(worse)}"
    return Rule("slices", text, not worse, found.value, found.low, found.high, bound, reason)


def _judge_ann(ann: AnnDocument) -> Rule:
    text = f"the approximate index finds at least {ann.floor:g} of the first {ann.k} items of exact search"
    if ann.kind == EXACT:
        return Rule("ann", text, None, reason=f"search is exact: {ann.reason}")
    return Rule(
        name="ann",
        text=text,
        passed=ann.recall >= ann.floor,
        value=ann.recall,
        low=ann.recall_low,
        high=ann.recall_high,
        bound=ann.floor,
    )


def simultaneous_interval(differences: npt.NDArray[np.float64], groups: int) -> Interval:
    """Give an interval of a mean that holds together with those of other groups (Bonferroni).

    Args:
        differences: [users], at least two.
        groups: Number of the intervals that are to hold together.

    Returns:
        The interval of the mean.
    """
    return normal_interval(differences, 1 - (1 - LEVEL) / groups)


def normal_interval(differences: npt.NDArray[np.float64], level: float) -> Interval:
    """Give an interval of a mean that holds far out, where a bootstrap has no quantiles.

    mean -+ z s / sqrt(n), with z at (1 + level) / 2.

    Args:
        differences: [users], at least two.
        level: How often it holds the true value.

    Returns:
        The interval of the mean.
    """
    value = float(differences.mean())
    z = NormalDist().inv_cdf((1 + level) / 2)
    width = z * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return Interval(value, value - width, value + width)


def _say(blessed: bool, metric: Interval, name: str, rules: Sequence[Rule], rival: Rival | NoRival) -> str:
    figure = f"{name} {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"
    if not blessed:
        broken = "; ".join(
            f"{rule.text} (found {_show_found(rule)})" for rule in rules if rule.passed is False
        )
        return f"Not blessed, with {figure}. Not kept: {broken}."
    compared = (
        f"{'' if rival.is_first else 'floor and baselines alone decided, since '}{rival.reason}"
        if isinstance(rival, NoRival)
        else f"not worse than release {rival.version} (difference {rival.difference.value:+.4f}, "
        f"{rival.difference.low:+.4f} to {rival.difference.high:+.4f})"
    )
    return f"Blessed: {figure}, above every baseline that decides; {compared}."


def _show_found(rule: Rule) -> str:
    if rule.value is None:
        return str(rule.reason)
    found = f"{rule.value:.4f}"
    if rule.low is not None and rule.high is not None:
        found += f", {rule.low:.4f} to {rule.high:.4f}"
    return found if rule.reason is None else f"{found}: {rule.reason}"


def write_blessing(is_blessed: bool, folder: Path) -> None:
    """Write the file that says whether the model may be released.

    Args:
        is_blessed: The verdict.
        folder: The artifact's folder, made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # One byte, since some object stores and copies lose empty files.
    (folder / (BLESSED_FILE if is_blessed else NOT_BLESSED_FILE)).write_text("\n", encoding="utf-8")
