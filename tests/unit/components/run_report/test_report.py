import itertools
import json
import re
import xml.dom.minidom
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from components.run_report.config import ReportConfig
from components.run_report.page import render_page
from components.run_report.report import ReportFiles, write_report
from components.run_report.sections import build_sections
from components.run_report.sections.embeddings import describe_map

pytestmark = pytest.mark.unit

TWO_MEGABYTES = 2_000_000
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</title><script>alert('x')</script>\"><img src=//evil.example/x> $\\frac{1}{2}$ {{ 7*7 }} &amp;"


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.values: list[tuple[float, str]] = []
        self._value: float | None = None
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "data":
            self._value = float(dict(attrs)["value"])

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "data":
            self._value = None

    def handle_data(self, data: str) -> None:
        if self._value is not None:
            self.values.append((self._value, data))


def render(facts: Any, **settings: Any) -> str:
    return render_page("Report", "Run", build_sections(facts, ReportConfig(**settings)))


def draw_the_map(facts: Any, **settings: Any) -> str:
    [_, plots] = describe_map(facts, ReportConfig(**settings)).blocks
    return plots.plots[0].svg


@pytest.fixture(scope="module")
def whole_page(make_facts: Any) -> Page:
    return Page(render(make_facts()))


def list_numbers(content: Any, path: str = "") -> list[tuple[str, float]]:
    if isinstance(content, dict):
        return [found for key, value in content.items() for found in list_numbers(value, f"{path}.{key}")]
    if isinstance(content, list):
        return [found for value in content for found in list_numbers(value, path)]
    if isinstance(content, int | float) and not isinstance(content, bool):
        return [(path, content)]
    return []


def test_the_numbers_are_those_of_the_document(whole_page, document) -> None:
    page = whole_page
    shown = {round(value, 12) for value, _ in page.values}
    # These are in the text: versions, lengths, shares, and how an index is made.
    in_text = {
        "changes.version", "changes.list_length", "changes.overlap", "ann.items", "ann.k",
        "ann.target_recall",
    }  # fmt: skip
    # Two ways to a mean may differ in the last bit.
    expected = [
        round(value, 12)
        for key in ("metrics", "models", "differences", "gate", "ann", "changes")
        for path, value in list_numbers(document[key], key)
        # So are the ends of intervals.
        if path not in in_text
        and ".parameters." not in path
        and path.rpartition(".")[2] not in ("low", "high", "recall_low", "recall_high")
    ]
    assert len(expected) > 150
    assert set(expected) <= shown
    for value, text in page.values:
        assert float(text.split(" [")[0].replace(",", "")) == pytest.approx(value, rel=5e-3, abs=6e-5)
    for estimate in document["models"][1]["metrics"].values():
        assert "{value:.4f} [{low:.4f}, {high:.4f}]".format(**estimate) in page.text


def test_what_comes_from_data_is_escaped_everywhere(make_facts, document) -> None:
    def poison(content: Any, key: str = "") -> Any:
        if isinstance(content, dict):
            return {name: poison(value, name) for name, value in content.items()}
        if isinstance(content, list):
            return [poison(value, key) for value in content]
        # Metrics are names of our own.
        return HOSTILE if isinstance(content, str) and key not in ("metric", "name", "of", "to") else content

    facts = make_facts()
    count = facts.catalogue.num_rows
    catalogue = facts.catalogue.set_column(2, "title", [[HOSTILE] * count]).set_column(
        1, "genres", [[[HOSTILE]] * count]
    )
    del document["slices"][4:]
    poisoned = make_facts(
        run_id=HOSTILE,
        evaluation=poison(document),
        ingest={**facts.ingest, "dropped": {HOSTILE: 3}, "missing_days": [HOSTILE]},
        anomalies=poison(facts.anomalies),
        model={**facts.model, HOSTILE: HOSTILE},
        catalogue=catalogue,
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        parameters={HOSTILE: HOSTILE},
    )
    page = Page(render_page(HOSTILE, HOSTILE, build_sections(poisoned, ReportConfig())))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "{{ 7*7 }}" in page.text
    assert "49" not in page.text.split("{{ 7*7 }}")[1][:1]
    assert r"$\frac{1}{2}$" in page.text
    assert page.text.count("&lt;script&gt;") > 100


def test_nothing_is_fetched_and_nothing_runs(whole_page) -> None:
    page = whole_page
    for tag, attributes in page.elements:
        for name in ("href", "src", "srcset", "xlink:href", "action", "poster"):
            if name in attributes:
                assert (attributes[name] or "").startswith(("#", "data:")), (tag, attributes)
        assert tag != "script"
    assert "@import" not in page.text
    assert not re.search(r"url\((?!#)", page.text)


def test_it_can_be_read_by_ear_and_keyboard(whole_page) -> None:
    page = whole_page
    tags = Counter(tag for tag, _ in page.elements)
    assert (tags["main"], tags["nav"], tags["h1"], tags["header"]) == (1, 1, 1, 1)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 20
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    assert tags["caption"] == tags["table"]


def test_the_verdict_comes_first_and_the_settings_last(whole_page, document) -> None:
    text = whole_page.text
    assert re.findall(r'<section id="([a-z]+)"', text) == [
        "verdict", "metrics", "curves", "gate", "changes", "training", "slices", "data", "anomalies",
        "search", "embeddings", "map", "users", "settings",
    ]  # fmt: skip
    assert text.index(document["gate"]["sentence"]) < text.index('<h2 id="metrics-title"')
    assert "model.layers" in text
    assert "too few users to be judged" in text


def test_the_same_facts_give_the_same_bytes(whole_page, make_facts) -> None:
    assert render(make_facts()) == whole_page.text


def test_a_section_without_figures_says_so(make_facts, small_document) -> None:
    facts = make_facts(
        evaluation=small_document,
        ingest={},
        anomalies={},
        scalars={},
        refit_scalars={},
        settings={},
        parameters={},
    )
    page = Page(render(facts))
    for sentence in (
        "There is no release yet",
        "left no logs",
        "Drift was not measured.",
        "Nothing tells the users apart.",
        "Search is exact: the catalogue has 120 items, fewer than 20,000.",
    ):
        assert sentence in page.text
    assert not re.search(r"\bnan\b", page.text.lower())


@pytest.mark.parametrize(
    "path",
    [
        "gate.sentence",
        "gate.metric",
        "gate.rules.bound",
        "protocol.leaks_time",
        "protocol.repeats",
        "protocol.users_who_find_all",
        "released.is_compared",
        "released.version",
        "changes.overlap",
        "changes.list_length",
        "changes.gained.title",
        "models.recall_curve",
        "models.note",
        "models.metrics.recall_at_10.low",
        "slices.is_judged",
        "slices.difference.high",
        "samples.history",
        "ann.reason",
        "ann.recall_low",
        "ann.tried.reaches_target",
    ],
)
def test_what_the_document_lacks_is_not_passed_over(make_facts, document, path, monkeypatch) -> None:
    # What a plot shows has been read when it is drawn.
    monkeypatch.setattr("components.run_report.plots.draw", lambda *arguments, **settings: "<svg/>")
    *parents, last = path.split(".")
    parent = document
    for name in parents:
        parent = parent[name]
        parent = parent[0] if isinstance(parent, list) else parent
    del parent[last]
    with pytest.raises(KeyError, match=last):
        build_sections(make_facts(evaluation=document), ReportConfig())


def test_a_hundred_thousand_items_stay_under_two_megabytes(whole_page, make_facts, small_document) -> None:
    text = render(make_facts(items=100_000, evaluation=small_document))
    assert "a random sample of 2,000 of 100,000 items" in text
    assert text.count("<title>Film ") == 2000
    # Whatever else there is, of which the small document has little.
    assert len(text.encode()) + len(whole_page.text.encode()) < TWO_MEGABYTES


def test_titles_are_those_of_the_points(make_facts) -> None:
    facts = make_facts(items=3)
    embeddings = np.array([[1, 0], [-1, 0], [0, 0.1]], np.float32)
    svg = draw_the_map(make_facts(items=3, embeddings=embeddings, catalogue=facts.catalogue))
    places = {
        title: float(x)
        for title, x in re.findall(r"<title>(Film \d) [^<]*</title>.*?x=\"([\d.]+)\"", svg, re.DOTALL)
    }
    # The first component is the first coordinate.
    assert places["Film 1"] < places["Film 2"] < places["Film 0"]


def test_the_map_is_coloured_by_the_feature(make_facts) -> None:
    assert "coloured by genres" in draw_the_map(make_facts())
    assert "coloured by title" in draw_the_map(make_facts(map_feature="title"))
    assert "coloured" not in draw_the_map(make_facts(map_feature=None))


def test_each_plot_is_well_formed_and_has_the_pages_colours(whole_page) -> None:
    text = whole_page.text
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) > 15
    for svg in plots:
        xml.dom.minidom.parseString(svg)
        assert "#0a0b" not in svg
        assert "font-family" not in svg
        assert "var(--ink)" in svg


def test_all_three_files_are_written(make_facts, small_document, tmp_path) -> None:
    files = ReportFiles(tmp_path / "a.html", tmp_path / "b.md", tmp_path / "c.json")
    scalars = write_report(make_facts(evaluation=small_document), ReportConfig(), files)
    assert "<title>Run report: films</title>" in files.page.read_text()
    assert files.markdown.read_text().startswith("# Run report: films\n")
    assert json.loads(files.scalars.read_text()) == {
        "run_id": "20261128T121233.5Z", "model_id": small_document["model_id"], "scalars": scalars,
    }  # fmt: skip
