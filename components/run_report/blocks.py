"""What a report is made of, whichever format it is rendered in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "quiet"]
"""What a text means beside what it says: `quiet` is less important than the rest."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    """Plain text."""
    tone: Tone | None = None
    """What it means."""
    leads: bool = False
    """Whether it is what the page is read for."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    """What is shown."""
    value: float | None = None
    """The exact number behind the text; None where there is none."""
    tone: Tone | None = None
    """What it means."""


@dataclass(frozen=True)
class Table:
    """A table whose first column heads its rows."""

    caption: str
    """What it holds, in a sentence."""
    columns: Sequence[str]
    """The heads of the columns."""
    rows: Sequence[Sequence[Cell]]
    """The rows, each with a cell for every column."""


@dataclass(frozen=True)
class Plot:
    """A plot as inline SVG."""

    svg: str
    """The element, in which everything from data is escaped."""
    caption: str
    """What it shows; the text in its place for who cannot see it, too."""


@dataclass(frozen=True)
class Plots:
    """Plots side by side, where there is room."""

    plots: Sequence[Plot]
    """At least one."""


@dataclass(frozen=True)
class NamedList:
    """A list of items under a name."""

    name: str
    """What the items are."""
    items: Sequence[Cell]
    """The items in their order."""


@dataclass(frozen=True)
class Person:
    """One user's lists side by side."""

    name: str
    """The user."""
    note: str
    """What is known of the user; may be ''."""
    lists: Sequence[NamedList]
    """At least one."""


@dataclass(frozen=True)
class Details:
    """Blocks that are shown on demand."""

    summary: str
    """What they hold."""
    blocks: Sequence["Block"]
    """The blocks."""


Block = Text | Table | Plots | Person | Details


@dataclass(frozen=True)
class Section:
    """One part of the report, with a heading."""

    name: str
    """What links to it call it: lower case and hyphens."""
    title: str
    """The heading."""
    blocks: Sequence[Block]
    """What it holds."""
