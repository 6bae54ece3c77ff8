import pytest

from components.run_report.blocks import Cell, Plots, Section, Table, Text
from components.run_report.markdown import escape_markdown, render_markdown

pytestmark = pytest.mark.unit


def test_texts_and_tables_of_the_verdicts_sections() -> None:
    sections = [
        Section("verdict", "Verdict", [Text("Released: 2 > 1.", leads=True), Plots([])]),
        Section("gate", "Gate", [Table("Rules.", ("rule", "bound"), [[Cell("a | b"), Cell("-0.5")]])]),
        Section("settings", "Settings", [Text("not here")]),
    ]
    assert render_markdown("Report: my_run", "Run 1", sections) == (
        "# Report: my\\_run\n\nRun 1\n\n## Verdict\n\n**Released: 2 > 1.**\n\n## Gate\n\nRules.\n\n"
        "| rule | bound |\n|---|---|\n| a \\| b | \\-0.5 |\n"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>&", "&lt;b>&amp;"),
        ("[x](http://e.example)", "\\[x\\](http://e.example)"),
        ("a\n# b", "a # b"),
        ("# b", "\\# b"),
        ("3. third", "3\\. third"),
        ("0.25", "0.25"),
        ("`$x$`", "\\`\\$x\\$\\`"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped
