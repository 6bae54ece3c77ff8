"""The metrics against those of baselines and of the last release."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.run_report.blocks import Block, Cell, Details, Plot, Plots, Section, Table, Text
from components.run_report.figures import (
    figure_cell,
    interval_cell,
    show_metric,
    to_number,
    tone_of_difference,
)
from components.run_report.plots import Estimates, Line, draw_estimates, draw_lines

_FAMILIES = {"recall": "Recall", "ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "hit_rate": "Hit rate"}
_LIST_FIGURES = {
    "coverage": "coverage: share of the catalogue that is in any list",
    "mean_popularity_recommended": "mean popularity of what is recommended, interactions",
    "mean_popularity_held_out": "mean popularity of what is held out, interactions",
    "novelty": "novelty: mean surprise of an item, bits",
    "intra_list_similarity": "intra-list similarity: mean cosine of two items of a list",
}


def list_models(evaluation: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """List the models that were evaluated.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The model first; of a document without such a list the model and popularity, without intervals.
    """
    models = evaluation.get("models")
    if models:
        return models
    return [
        {
            "name": name,
            "label": label,
            "metrics": {metric: {"value": value} for metric, value in evaluation[key].items()},
        }
        for name, label, key in (
            ("model", "this model", "metrics"),
            ("popularity", "popularity", "popularity"),
        )
        if evaluation.get(key)
    ]


def describe_metrics(evaluation: Mapping[str, Any]) -> Section:
    """Compare the model with the last release and the baselines.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    models = list_models(evaluation)
    names = list(evaluation["metrics"])
    blocks: list[Block] = [
        Plots([_plot_family(family, members, models) for family, members in _group_by_family(names).items()])
    ]
    blocks.append(
        Table(
            "Metrics of every model, the mean over users, with 95 % intervals by bootstrap over users.",
            ("metric", *(model["label"] for model in models)),
            [
                [
                    Cell(show_metric(name)),
                    *(interval_cell((model.get("metrics") or {}).get(name)) for model in models),
                ]
                for name in names
            ],
        )
    )
    blocks += [Text(f"{model['label']}: {model['note']}") for model in models if model.get("note")]
    blocks += _describe_differences(evaluation, models)
    blocks += _describe_lists(models)
    return Section("metrics", "Metrics against baselines and the last release", blocks)


def describe_curves(evaluation: Mapping[str, Any]) -> Section:
    """Show Recall@K by K.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    curves = [
        (model, model["recall_curve"]) for model in list_models(evaluation) if model.get("recall_curve")
    ]
    if not curves:
        return Section("curves", "Recall by the length of the list", [Text("Not measured.", tone="quiet")])
    lines = [
        Line(model["label"], curve["k"], [to_number(value) for value in curve["recall"]])
        for model, curve in curves
    ]
    caption = f"Recall@K by K, of {', '.join(line.label for line in lines)}."
    plot = Plot(
        draw_lines(
            "recall-curves",
            caption,
            lines,
            "K (items in the list)",
            "Recall@K",
            is_log=True,
            has_markers=True,
        ),
        caption,
    )
    lengths = sorted({k for _, curve in curves for k in curve["k"]})
    recalls = [dict(zip(curve["k"], curve["recall"], strict=True)) for _, curve in curves]
    table = Table(
        "Recall@K by K.",
        ("K", *(line.label for line in lines)),
        [[Cell(f"{k:,}", k), *(figure_cell(recall.get(k)) for recall in recalls)] for k in lengths],
    )
    return Section(
        "curves",
        "Recall by the length of the list",
        [Plots([plot]), Details("The curves as a table", [table])],
    )


def _group_by_family(names: Sequence[str]) -> Mapping[str, list[str]]:
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition("_at_")[0], []).append(name)
    return families


def _plot_family(family: str, names: Sequence[str], models: Sequence[Mapping[str, Any]]) -> Plot:
    found = [model.get("metrics") or {} for model in models]
    estimates = [
        Estimates(
            show_metric(name),
            *(
                [to_number((metrics.get(name) or {}).get(key)) for metrics in found]
                for key in ("value", "low", "high")
            ),
        )
        for name in names
    ]
    title = _FAMILIES.get(family, family)
    caption = f"{title} at {', '.join(name.rpartition('_')[2] for name in names)}, with 95 % intervals."
    rows = [model["label"] for model in models]
    return Plot(
        draw_estimates(f"metric-{family.replace('_', '-')}", caption, rows, estimates, title), caption
    )


def _describe_differences(evaluation: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> list[Block]:
    differences = evaluation.get("differences")
    if not differences:
        return []
    labels = {model["name"]: model["label"] for model in models}
    return [
        Table(
            "Paired differences with 95 % intervals: each user counts with what the one gets more than the "
            "other.",
            ("difference", "metric", "value [95 % interval]"),
            [
                [
                    Cell(f"{labels.get(one['of'], one['of'])} minus {labels.get(one['to'], one['to'])}"),
                    Cell(show_metric(one["metric"])),
                    interval_cell(one, tone_of_difference(one)),
                ]
                for one in differences
            ],
        )
    ]


def _describe_lists(models: Sequence[Mapping[str, Any]]) -> list[Block]:
    described = [model for model in models if model.get("lists")]
    if not described:
        return []
    names = list(dict.fromkeys(name for model in described for name in model["lists"]))
    return [
        Table(
            "What the lists are like.",
            ("figure", *(model["label"] for model in described)),
            [
                [
                    Cell(_describe_list_figure(name)),
                    *(figure_cell(model["lists"].get(name)) for model in described),
                ]
                for name in names
            ],
        )
    ]


def _describe_list_figure(name: str) -> str:
    family, separator, k = name.partition("_at_")
    text = _LIST_FIGURES.get(family, family.replace("_", " "))
    return f"{text}, lists of {k}" if separator else text
