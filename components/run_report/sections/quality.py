"""The metrics against those of baselines and of the current release."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.run_report.blocks import Block, Cell, Details, Plot, Plots, Section, Table, Text
from components.run_report.figures import figure_cell, interval_cell, tone_of_difference
from components.run_report.plots import Estimates, Line, draw_estimates, draw_lines
from schemas.ranking.metrics import show_metric

_FAMILIES = {"recall": "Recall", "ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "hit_rate": "Hit rate"}
_LIST_FIGURES = {
    "coverage": "coverage: share of the catalogue that is in any list",
    "mean_popularity_recommended": "mean popularity of what is recommended, interactions",
    "mean_popularity_held_out": "mean popularity of what is held out, interactions",
    "novelty": "novelty: mean surprise of an item, bits",
    "intra_list_similarity": "intra-list similarity: mean cosine of two items of a list",
}


def describe_metrics(evaluation: Mapping[str, Any]) -> Section:
    """Compare the model with the current release and the baselines.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    models = _list_measured(evaluation)
    names = list(evaluation["metrics"])
    blocks: list[Block] = [
        Plots([_plot_family(family, members, models) for family, members in _group_by_family(names).items()])
    ]
    blocks.append(
        Table(
            "Metrics of every model, the mean over users, with 95 % intervals by bootstrap over users.",
            ("metric", *(model["label"] for model in models)),
            [
                [Cell(show_metric(name)), *(interval_cell(model["metrics"][name]) for model in models)]
                for name in names
            ],
        )
    )
    blocks += [
        Text(f"{model['label']}: {model['note']}.")
        for model in evaluation["models"]
        if model["note"] is not None
    ]
    blocks += _describe_differences(evaluation)
    blocks += _describe_lists(models)
    return Section("metrics", "Metrics against baselines and the current release", blocks)


def describe_curves(evaluation: Mapping[str, Any]) -> Section:
    """Show Recall@K by K.

    Args:
        evaluation: RetrievalEvaluator's document.

    Returns:
        The section.
    """
    curves = [(model["label"], model["recall_curve"]) for model in _list_measured(evaluation)]
    lines = [Line(label, curve["k"], curve["recall"]) for label, curve in curves]
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
    table = Table(
        "Recall@K by K.",
        ("K", *(line.label for line in lines)),
        [
            [Cell(f"{k:,}", k), *(figure_cell(line.y[number]) for line in lines)]
            for number, k in enumerate(curves[0][1]["k"])
        ],
    )
    return Section(
        "curves",
        "Recall by the length of the list",
        [Plots([plot]), Details("The curves as a table", [table])],
    )


def _list_measured(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the models that could be computed, this run's first."""
    return [model for model in evaluation["models"] if model["metrics"]]


def _group_by_family(names: Sequence[str]) -> Mapping[str, list[str]]:
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.partition("_at_")[0], []).append(name)
    return families


def _plot_family(family: str, names: Sequence[str], models: Sequence[Mapping[str, Any]]) -> Plot:
    estimates = [
        Estimates(
            show_metric(name),
            *([model["metrics"][name][key] for model in models] for key in ("value", "low", "high")),
        )
        for name in names
    ]
    title = _FAMILIES.get(family, family.replace("_", " "))
    caption = f"{title} at {', '.join(name.rpartition('_')[2] for name in names)}, with 95 % intervals."
    rows = [model["label"] for model in models]
    return Plot(
        draw_estimates(f"metric-{family.replace('_', '-')}", caption, rows, estimates, title), caption
    )


def _describe_differences(evaluation: Mapping[str, Any]) -> list[Block]:
    deciding = evaluation["gate"]["metric"]
    labels = {model["name"]: model["label"] for model in evaluation["models"]}

    def make_table(metrics: str, chosen: Sequence[Mapping[str, Any]]) -> Table:
        return Table(
            f"Paired differences in {metrics}: each user counts with what the one gets more than the other.",
            ("difference", "metric", "value [95 % interval]"),
            [
                [
                    Cell(f"{labels[one['of']]} minus {labels[one['to']]}"),
                    Cell(show_metric(one["metric"])),
                    interval_cell(one, tone_of_difference(one)),
                ]
                for one in chosen
            ],
        )

    decides = [one for one in evaluation["differences"] if one["metric"] == deciding]
    others = [one for one in evaluation["differences"] if one["metric"] != deciding]
    rest = "the other metrics"
    return [
        make_table(f"{show_metric(deciding)}, which decides", decides),
        Details(f"Paired differences in {rest}", [make_table(rest, others)]),
    ]


def _describe_lists(models: Sequence[Mapping[str, Any]]) -> list[Block]:
    described = [model for model in models if model["lists"] is not None]
    return [
        Table(
            "What the lists are like.",
            ("figure", *(model["label"] for model in described)),
            [
                [
                    Cell(_describe_list_figure(name)),
                    *(figure_cell(model["lists"][name]) for model in described),
                ]
                for name in described[0]["lists"]
            ],
        )
    ]


def _describe_list_figure(name: str) -> str:
    family, separator, k = name.partition("_at_")
    text = _LIST_FIGURES.get(family, family.replace("_", " "))
    return f"{text}, lists of {k}" if separator else text
