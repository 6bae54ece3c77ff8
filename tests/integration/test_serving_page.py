"""The page of `dssm serve` in a browser, on small releases: what is clicked, typed and read there.

What the page must show is what the server's own API answers.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

START_SECONDS = 300
COMMAND = "import sys; from pipeline.cli import main; sys.argv[0] = 'dssm'; main()"
TEXT_CONTRAST = 4.5
# Of the text, and of what it lies on.
COLOURS = [
    ("--ink", "--paper"), ("--ink", "--raised"), ("--quiet", "--paper"),
    ("--quiet", "--raised"), ("--link", "--paper"), ("--link", "--raised"), ("--on-link", "--link"),
    ("--bad", "--bad-paper"),
]  # fmt: skip
CONTRASTS = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const light = name => {
    const hex = style.getPropertyValue(name).trim();
    const parts = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  return PAIRS.map(([text, ground]) => {
    const [low, high] = [light(text), light(ground)].sort((a, b) => a - b);
    return [text, ground, (high + 0.05) / (low + 0.05)];
  });
})()
""".replace("PAIRS", json.dumps(COLOURS))
UNNAMED = """
[...document.querySelectorAll('button, input, [role=listbox], dialog')].filter(element =>
  !(element.labels?.length || element.getAttribute('aria-label') || element.textContent.trim() ||
    document.getElementById(element.getAttribute('aria-labelledby'))?.textContent)
).map(element => element.outerHTML)
"""
SHOWN = "[...document.querySelectorAll('#{list} li')].map(row => row.querySelector('.about').textContent)"
TAB, ENTER, ESCAPE, DOWN = ("Tab", 9), ("Enter", 13), ("Escape", 27), ("ArrowDown", 40)


@pytest.fixture(scope="module")
def serving(make_toy_serving: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a serving directory: release 1 is current, and release 2 is mixed of two trainings."""
    serving = make_toy_serving(tmp_path_factory.mktemp("serving"))
    serving.publish(1)
    serving.publish(2, mixed=True)
    serving.roll_back(1, over=2)
    return serving


@pytest.fixture(scope="module")
def server(serving: Any) -> Iterator[str]:
    """Return the address of `dssm serve`."""
    arguments = ["serve", "--config", str(serving.config), "--port", "0", "--poll-seconds", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while not (address := re.search(r"http://127\.0\.0\.1:\d+", said)):
            line = process.stdout.readline()
            assert line, f"dssm serve ended: {said}"
            said += line
        wait_for(address[0], lambda: ask_server(address[0], "readyz"))
        yield address[0]
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(server: str, condition: Callable[[], Any]) -> None:
    """Wait until a question to the server has an answer that is true."""
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(urllib.error.HTTPError):
            if condition():
                return
        assert time.monotonic() < end, server
        time.sleep(0.1)


def ask_server(server: str, path: str, **values: Any) -> Any:
    query = f"?{urllib.parse.urlencode(values)}" if values else ""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server}/{path}{query}", timeout=60) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def user(server: str) -> str:
    """Return a user with a history."""
    return ask_server(server, "users", prefix="", limit=1)["users"][0]


def open_page(browser: Any, server: str, width: int = 1280, scheme: str = "light", address: str = "") -> None:
    # A page is loaded anew although only its fragment differs.
    browser.open("about:blank", width, scheme)
    browser.open(f"{server}/{address}", width, scheme)
    browser.wait_for("document.querySelector('#release').textContent.startsWith('Release')")


def wait_for_answer(browser: Any) -> None:
    browser.wait_for("document.querySelectorAll('#recommended li').length")


def list_ids(browser: Any, name: str) -> list[str]:
    """The item ids of a list, as they are shown."""
    return [text.rsplit("id\u00a0", 1)[1] for text in browser.ask(SHOWN.format(list=name))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_shown_without_an_error_at_two_widths(
    browser: Any, server: str, user: str, width: int, scheme: str, tmp_path: Path
) -> None:
    open_page(browser, server, width, scheme, f"#user={user}&k=5")
    wait_for_answer(browser)

    assert browser.list_complaints() == []
    assert all(url.startswith((server, "data:", "about:")) for url in browser.list_requests())
    assert browser.ask("document.documentElement.scrollWidth") <= width
    # What a finger can hit.
    assert browser.ask(
        "Math.min(...[...document.querySelectorAll('main button, form button')]"
        ".map(button => button.getBoundingClientRect().height)) >= 24"
    )
    assert browser.ask(UNNAMED) == []
    for text, ground, contrast in browser.ask(CONTRASTS):
        assert contrast >= TEXT_CONTRAST, (text, ground, contrast)
    browser.take_picture(tmp_path / f"page-{width}-{scheme}.png")


def test_a_user_is_found_by_how_the_id_begins_with_the_keyboard_alone(
    browser: Any, server: str, user: str
) -> None:
    expected = ask_server(server, "recommend", user=user, k=10)
    open_page(browser, server)
    browser.press(*TAB)
    assert browser.ask("document.activeElement.textContent") == "Skip to the recommendations"
    browser.press(*TAB)
    browser.press(*TAB)
    assert browser.ask("document.activeElement.id") == "user"
    browser.type(user)
    browser.wait_for("document.querySelectorAll('#user-options li').length")
    assert browser.ask("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert browser.ask("document.querySelector('#user-options li').textContent") == user
    browser.press(*DOWN)
    active = "document.activeElement.getAttribute('aria-activedescendant')"
    assert browser.ask(f"document.getElementById({active}).getAttribute('aria-selected')") == "true"
    browser.press(*ENTER)
    wait_for_answer(browser)

    assert list_ids(browser, "recommended") == [item["item_id"] for item in expected["items"]]
    shown = [item["item_id"] for item in expected["history"]]
    assert list_ids(browser, "history") == shown
    older = expected["history_length"] - len(shown)
    assert browser.ask("document.querySelector('#older').hidden") == (older == 0)
    assert not older or f"{older:,} older" in browser.ask("document.querySelector('#older').textContent")
    scores = browser.ask("[...document.querySelectorAll('#recommended .score')].map(one => one.textContent)")
    assert scores == [f"score {item['score']:.3f}" for item in expected["items"]]
    release = ask_server(server, "release")["version"]
    assert browser.ask("document.querySelector('#answered').textContent") == f"from release {release}"
    assert (
        browser.ask("document.querySelector('#status').textContent")
        == f"{len(expected['items'])} items, from release {release}"
    )
    # The address leads back to this answer.
    assert browser.ask("location.hash") == f"#user={user}&k=10"


def test_similar_items_are_shown_in_a_dialog_that_gives_the_focus_back(
    browser: Any, server: str, user: str
) -> None:
    item = ask_server(server, "recommend", user=user, k=1)["items"][0]
    expected = ask_server(server, "similar", item=item["item_id"], k=10)
    open_page(browser, server, address=f"#user={user}&k=1")
    wait_for_answer(browser)
    browser.ask("document.querySelector('#recommended button').focus()")
    browser.press(*ENTER)
    browser.wait_for("document.querySelectorAll('#similar-items li').length")

    assert browser.ask("document.querySelector('#similar').open")
    name = str(next(iter(item["display"].values()), item["item_id"]))
    assert browser.ask("document.querySelector('#similar-title').textContent") == f"Similar to {name}"
    found = [one["item_id"] for one in expected["items"]]
    assert list_ids(browser, "similar-items") == found
    assert item["item_id"] not in found
    browser.press(*ESCAPE)
    assert not browser.ask("document.querySelector('#similar').open")
    assert browser.ask("document.activeElement.getAttribute('aria-label')") == f"Similar to {name}"


def test_a_user_is_described_by_features_and_a_history_that_is_searched(
    browser: Any, server: str, user: str
) -> None:
    features = ask_server(server, "release")["features"]
    assert features
    liked = ask_server(server, "recommend", user=user, k=1)["items"][0]
    word = str(next(iter(liked["display"].values())))
    open_page(browser, server)
    browser.ask("document.querySelector('input[value=described]').click()")
    assert browser.ask("[...document.querySelectorAll('#features label')].map(one => one.textContent)") == [
        feature["name"] for feature in features
    ]
    browser.ask("document.querySelector('#item').focus()")
    browser.type(word)
    browser.wait_for("document.querySelectorAll('#item-options li').length")
    browser.press(*DOWN)
    browser.press(*ENTER)
    assert browser.ask("document.querySelectorAll('#chosen li').length") == 1
    browser.ask("document.querySelector('form button.main').click()")
    wait_for_answer(browser)

    [first] = list_ids(browser, "history")
    assert first not in list_ids(browser, "recommended")
    assert browser.ask("document.querySelector('#recommended-title').textContent") == "For the described user"
    # What was assumed for the features that were left empty is said.
    assert browser.ask("document.querySelectorAll('#notes li').length") > 0
    browser.ask("document.querySelector('#chosen button').click()")
    assert browser.ask("document.querySelectorAll('#chosen li').length") == 0
    assert browser.ask("document.activeElement.id") == "item"


def test_a_known_user_is_copied_into_a_description(browser: Any, server: str, user: str) -> None:
    answer = ask_server(server, "recommend", user=user, k=10)
    open_page(browser, server, address=f"#user={user}&k=10")
    wait_for_answer(browser)
    browser.ask("document.querySelector('#copy').click()")

    assert browser.ask("document.querySelector('input[value=described]').checked")
    assert browser.ask("document.querySelectorAll('#chosen li').length") == len(answer["history"])
    for name, value in answer["features"].items():
        if not isinstance(value, list):
            assert browser.ask(f"document.getElementById('feature-{name}').value") == str(value)


def test_errors_are_shown_as_the_server_words_them(browser: Any, server: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask_server(server, "recommend", user="nobody at all")
    words = json.load(refused.value)["error"]
    open_page(browser, server)
    browser.ask("document.querySelector('#user').focus()")
    browser.type("nobody at all")
    browser.press(*ENTER)
    browser.wait_for("!document.querySelector('#error').hidden")

    assert browser.ask("document.querySelector('#error').textContent") == words
    assert browser.ask("document.querySelector('#error').getAttribute('role')") == "alert"
    assert browser.ask("document.querySelector('#shown').hidden")


def test_nothing_typed_is_an_error_before_the_server_is_asked(browser: Any, server: str) -> None:
    open_page(browser, server)
    browser.ask("document.querySelector('form button.main').click()")

    assert "Expected a user id" in browser.ask("document.querySelector('#error').textContent")
    assert browser.ask("document.activeElement.id") == "user"
    assert not any("recommend" in url for url in browser.list_requests())


def test_a_release_that_is_refused_is_told(browser: Any, server: str, serving: Any) -> None:
    serving.roll_back(2, over=2)
    wait_for(server, lambda: ask_server(server, "release")["refused"])
    reason = ask_server(server, "release")["refused"]["reason"]
    open_page(browser, server)
    serving.roll_back(1, over=2)

    shown = browser.ask("document.querySelector('#refused').textContent")
    assert shown == f"The current release 2 is not served: {reason}"
    assert browser.ask("document.querySelector('#release').textContent").startswith("Release 1,")


def test_the_release_that_answers_is_named_when_it_changes(
    browser: Any, server: str, serving: Any, user: str
) -> None:
    open_page(browser, server, address=f"#user={user}&k=3")
    wait_for_answer(browser)
    serving.publish(3)
    wait_for(server, lambda: ask_server(server, "release")["version"] == 3)
    browser.ask("document.querySelector('form button.main').click()")
    browser.wait_for("document.querySelector('#release').textContent.startsWith('Release 3,')")

    assert browser.ask("document.querySelector('#answered').textContent") == "from release 3"
    shown = [item["item_id"] for item in ask_server(server, "recommend", user=user, k=3)["items"]]
    assert list_ids(browser, "recommended") == shown
