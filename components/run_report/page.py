"""The report as one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from components.run_report.blocks import Details, Person, Plots, Section, Table, Text

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Render the report as HTML.

    Args:
        title: The report's title.
        subtitle: What the report is of.
        sections: The report.

    Returns:
        A whole document without scripts, in which nothing is fetched. Everything from data is escaped.
    """
    # Only here, since no other step should wait for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    kinds = {Text: "text", Table: "table", Plots: "plots", Person: "person", Details: "details"}
    environment.filters["kind"] = lambda block: kinds[type(block)]
    environment.filters["svg"] = lambda plot: Markup(plot.svg)
    environment.filters["column"] = _find_column_kinds
    style = Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html.jinja").render(
        title=title, subtitle=subtitle, sections=sections, style=style
    )


def _find_column_kinds(table: Table) -> list[str]:
    """Tell columns of numbers, which are set right, from those of texts."""
    return [
        "number" if any(row[number].value is not None for row in table.rows) else "words"
        for number in range(len(table.columns))
    ]
