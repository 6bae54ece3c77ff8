"""The report's page in a browser: no console error, no network, at two widths, in light and in dark."""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from components.run_report.config import ReportConfig
from components.run_report.event_files import ScalarSeries
from components.run_report.inputs import RunFacts
from components.run_report.report import ReportFiles, write_report

pytestmark = pytest.mark.integration

SAMPLE = "tests/unit/components/run_report/samples/evaluation_report.json"
ITEMS = 3000
# The contrast of the Web Content Accessibility Guidelines 2.2 for texts, and for what is drawn.
TEXT_CONTRAST, PLOT_CONTRAST = 4.5, 3.0

CONTRASTS = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const light = name => {
    const hex = style.getPropertyValue(name).trim();
    const parts = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const names = ["--ink", "--quiet", "--link", "--good", "--bad", ...Array(8).keys()]
    .map(name => typeof name === "number" ? `--color-${name}` : name);
  const paper = light("--paper");
  return Object.fromEntries(names.map(name => {
    const [low, high] = [light(name), paper].sort((a, b) => a - b);
    return [name, (high + 0.05) / (low + 0.05)];
  }));
})()
"""
SMALLEST_PLOT_TEXT = """
Math.min(...[...document.querySelectorAll("svg text")].map(text => {
  const svg = text.ownerSVGElement;
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
}))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    generator = np.random.default_rng(2)
    embeddings = generator.normal(size=(ITEMS, 16)).astype(np.float32)
    facts = RunFacts(
        run_id="20261128T121233Z",
        evaluation=json.loads(Path(SAMPLE).read_text(encoding="utf-8")),
        ingest={"rows_read": 10, "rows_kept": 9, "dropped": {"not_positive": 1}},
        anomalies={"tables": ["users"], "anomalies": [], "drift": None},
        model={"steps": 20, "final_loss": 4.0},
        scalars={"loss": ScalarSeries([10, 20], [5.0, 4.0]), "validation_recall": ScalarSeries([20], [0.2])},
        refit_scalars={},
        embeddings=embeddings,
        catalogue=pa.table(
            {
                "item_id": [f"i{number}" for number in range(ITEMS)],
                "genre": [f"genre {number % 11}" for number in range(ITEMS)],
                "title": [f"<b>Film {number} & more</b>" for number in range(ITEMS)],
            }
        ),
        item_id="item_id",
        display=("title",),
        map_feature="genre",
        settings={"run": {"name": "films"}, "model": {"dim": 16}},
        parameters={"epochs": 3},
    )
    file = folder / "report.html"
    write_report(facts, ReportConfig(), ReportFiles(file, folder / "report.md", folder / "scalars.json"))
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_shown_without_an_error_and_without_network(
    browser: Any, page: Path, width: int, scheme: str
) -> None:
    browser.open(page.as_uri(), width, scheme)
    assert browser.ask("document.querySelector('h1').textContent") == "Run report: films"
    assert browser.list_complaints() == []
    assert [url for url in browser.list_requests() if not url.startswith("data:")] == [page.as_uri()]
    # Nothing but what scrolls by itself is wider than the window.
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(
        "[...document.querySelectorAll('svg')].every(svg => svg.getBoundingClientRect().height > 50)"
    )
    assert browser.ask(SMALLEST_PLOT_TEXT) >= 7.5
    contrasts = browser.ask(CONTRASTS)
    for name, contrast in contrasts.items():
        assert contrast >= (PLOT_CONTRAST if name.startswith("--color") else TEXT_CONTRAST), (name, contrast)


def test_the_keyboard_reaches_the_sections(browser: Any, page: Path) -> None:
    browser.open(page.as_uri(), 1280, "light")
    for kind in ("rawKeyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
    assert browser.ask("document.activeElement.textContent") == "Skip to the report"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
    browser.ask("document.querySelector('nav a[href=\"#slices\"]').click()")
    assert abs(browser.ask("document.getElementById('slices').getBoundingClientRect().top")) < 2
    assert browser.ask("document.querySelectorAll('svg title').length") == 2000


def test_it_is_shown_in_the_frame_of_kubeflows_page(browser: Any, page: Path, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    content = html.escape(page.read_text(encoding="utf-8"), quote=True)
    frame.write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<iframe sandbox="allow-scripts" srcdoc="{content}" '
        'style="width:100%;height:600px"></iframe>',
        encoding="utf-8",
    )
    browser.open(frame.as_uri(), 1280, "light")
    assert browser.list_complaints() == []
    urls = {url for url in browser.list_requests() if not url.startswith("data:")}
    assert urls <= {frame.as_uri(), "about:srcdoc"}
    assert browser.ask("document.querySelector('iframe').getBoundingClientRect().height") == 604
