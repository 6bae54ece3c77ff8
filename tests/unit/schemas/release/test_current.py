import json

import pytest

from schemas.errors import ReleaseError
from schemas.release import (
    Rollback,
    find_current_release,
    find_current_state,
    find_current_version,
    follow_current,
    read_current_release,
    read_rollback,
)

pytestmark = pytest.mark.unit


def write_rollback(releases, **content):
    (releases.serving / "releases" / "current.json").write_text(json.dumps(content))


def test_without_a_rollback_the_newest_is_current(releases):
    assert find_current_version(releases.serving) is None
    assert find_current_state(releases.serving) is None
    for version in (2, 10, 9):
        releases.add(version)
    # What a pusher at work leaves.
    (releases.serving / "releases" / "11").mkdir()
    assert find_current_version(releases.serving) == 10
    assert read_rollback(releases.serving) is None


@pytest.mark.parametrize(("over", "current"), [(3, 1), (4, 1), (2, 3)])
def test_an_older_one_is_current_until_a_newer_one_than_there_was_is_pushed(releases, over, current):
    for version in (1, 2, 3):
        releases.add(version)
    write_rollback(releases, version=1, over=over, since="2026-11-28T03:00:00+00:00", reason="nonsense")
    assert read_rollback(releases.serving) == Rollback(1, over, "2026-11-28T03:00:00+00:00", "nonsense")
    assert find_current_version(releases.serving) == current


def test_every_reader_follows(releases, tmp_path):
    for version in (1, 2):
        releases.add(version)
    write_rollback(releases, version=1, over=2, since="", reason="")
    assert find_current_release(releases.serving).version == 1
    assert find_current_state(releases.serving).location == str(releases.serving / "state" / "1")
    assert read_current_release(releases.serving).index == releases.serving / "index" / "1"


def test_a_release_that_was_rolled_back_to_and_is_gone_is_an_error_and_not_the_bad_one(releases):
    for version in (2, 3):
        releases.add(version)
    write_rollback(releases, version=1, over=3, since="", reason="")
    with pytest.raises(
        ReleaseError, match=r"Release 1 in .*, which was rolled back to, is gone: .* releases are 2, 3:"
    ):
        find_current_version(releases.serving)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": "one", "over": 2}'])
def test_what_cannot_be_read_is_an_error_and_not_the_newest(releases, text):
    releases.add(1)
    (releases.serving / "releases" / "current.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"releases/current\.json"):
        find_current_version(releases.serving)


def test_a_release_that_was_pruned_between_two_looks_gives_way_to_the_current_one(releases):
    releases.add(1)
    asked = []

    def read(version):
        asked.append(version)
        if version == 1:
            releases.add(2)
            raise ReleaseError("No release 1")
        return f"release {version}"

    assert follow_current(releases.serving, read) == "release 2"
    assert asked == [1, 2]

    def refuse(version):
        raise ReleaseError(f"{version} is damaged")

    with pytest.raises(ReleaseError, match="2 is damaged"):
        follow_current(releases.serving, refuse)
