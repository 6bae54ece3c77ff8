"""Figures of matplotlib as SVG that takes its colours and its font from the page around it."""

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#0a0b01"
QUIET: Final = "#0a0b02"
GRID: Final = "#0a0b03"
COLORS: Final = tuple(f"#0a0b1{number}" for number in range(9))
"""Colours by their purpose, as many as a report has models at the most; the page's style sheet says what they
are in light and in dark."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
"""Shapes that tell apart what a colour alone might not."""
WIDTH: Final = 4.6
"""Inches; 72 pixels each, where the plot has its own size."""

_VARIABLES: Final = {
    INK: "--ink", QUIET: "--quiet", GRID: "--grid",
    **{color: f"--color-{number}" for number, color in enumerate(COLORS)},
}  # fmt: skip
_STYLE: Final = {
    "svg.fonttype": "none", "svg.hashsalt": "dssm",
    # A $ in a title is a dollar.
    "text.parse_math": False,
    "font.family": "DejaVu Sans", "font.size": 9.0, "legend.fontsize": 8.0,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET, "axes.titlesize": 9.0,
    "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "legend.frameon": False, "lines.linewidth": 1.6, "lines.markersize": 4.5,
}  # fmt: skip
_METADATA: Final = {"Date": None, "Creator": None, "Format": None, "Type": None}
_POINT: Final = "point-"


def draw(
    name: str, height: float, paint: Callable[["Figure"], None], label: str, titles: Sequence[str] = ()
) -> str:
    """Draw a figure.

    Args:
        name: What the plot is called in the page: lower case and hyphens; no other plot has it.
        height: Its height in inches.
        paint: Draws into the figure, with the colours of this module.
        label: What the plot shows, for who cannot see it.
        titles: What is shown for the points that `link_titles` numbered.

    Returns:
        The `<svg>` element, the same for the same figure. Text from data is escaped.
    """
    # Only here, since it takes a second which no other step should wait for.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=_METADATA, transparent=True)
    return _finish(buffer.getvalue(), name, label, titles)


def link_titles(points: Any, numbers: Sequence[int]) -> None:
    """Number the points of a scatter plot, so that `draw` gives them their titles.

    Args:
        points: What `Axes.scatter` returned.
        numbers: The place of each point's title in `draw`'s titles.
    """
    points.set_urls([f"{_POINT}{number}" for number in numbers])


def shorten(text: str, length: int = 30) -> str:
    """Cut a text that would push a plot aside.

    Args:
        text: The text.
        length: The most characters.

    Returns:
        The text, with an ellipsis where it was cut.
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib.style

    # The file of settings that a user may have is not looked at.
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # The page's own font has the letters that matplotlib's lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _finish(svg: str, name: str, label: str, titles: Sequence[str]) -> str:
    svg = svg[svg.index("<svg") :]
    # Its rule would hold for the whole page.
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(
        rf'<a href="{_POINT}(\d+)"[^>]*>(.*?)</a>',
        rf"<g><title>{_POINT}\1</title>\2</g>",
        svg,
        flags=re.DOTALL,
    )
    svg = re.sub(r"\s*font-family: [^;\"]*;?", "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    # Ids that are referred to are told from those of other plots; all others would only be doubled.
    used = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))
    svg = re.sub(
        r' id="([\w.:-]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg
    )
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    svg = re.sub(
        rf"<title>{_POINT}(\d+)</title>",
        lambda found: f"<title>{_escape(titles[int(found[1])])}</title>",
        svg,
    )
    size = re.search(r'viewBox="([^"]*)"', svg)
    head = f'<svg viewBox="{size[1] if size else ""}" role="img" aria-label="{_escape(label)}">'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).rstrip()


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
