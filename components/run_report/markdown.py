"""The report as Markdown: what a CI system shows beside a change."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from components.run_report.blocks import Cell, Section, Table, Text

_SECTIONS: Final = ("verdict", "metrics", "gate", "changes", "slices", "data", "anomalies")
_SPECIAL: Final = re.compile(r"([\\`*_\[\]|~$])")
# What makes a list, a heading or a quotation at the start of a line alone.
_AT_START: Final = re.compile(r"^([-+#>=]|\d+(?=[.)] ))")


def render_markdown(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Render the texts and tables of the report that a verdict is judged by.

    Args:
        title: The report's title.
        subtitle: What the report is of.
        sections: The report; those of the training, the embeddings, the sample users and the settings, and
            all plots, are on the page alone.

    Returns:
        GitHub's Markdown, in which everything from data is escaped.
    """
    lines = [f"# {escape_markdown(title)}", "", escape_markdown(subtitle), ""]
    for section in sections:
        if section.name in _SECTIONS:
            lines += [f"## {escape_markdown(section.title)}", ""]
            for block in section.blocks:
                if isinstance(block, Text):
                    text = escape_markdown(block.text)
                    lines += [f"**{text}**" if block.leads else text, ""]
                elif isinstance(block, Table):
                    lines += [*_render_table(block), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def escape_markdown(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would read as more than a text.

    Args:
        text: Plain text.

    Returns:
        One line that shows it.
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _AT_START.sub(lambda found: _guard(found[0]), _SPECIAL.sub(r"\\\1", text))


def _guard(start: str) -> str:
    # A number's point is what is escaped, and it follows.
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def _render_table(table: Table) -> Iterator[str]:
    yield escape_markdown(table.caption)
    yield ""
    yield _render_row([Cell(name) for name in table.columns])
    yield f"|{'|'.join(['---'] * len(table.columns))}|"
    for row in table.rows:
        yield _render_row(row)


def _render_row(cells: Sequence[Cell]) -> str:
    return f"| {' | '.join(escape_markdown(cell.text) for cell in cells)} |"
