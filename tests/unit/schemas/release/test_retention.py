import datetime
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ReleaseError
from schemas.release import find_needed, prune, read_release, roll_back, take_lease

pytestmark = pytest.mark.unit


def warm(release):
    return {"release": release, "model_id": f"m{release}", "tables": {}}


def test_the_newest_stay_and_the_others_go_with_all_their_parts(releases):
    for version in range(1, 6):
        releases.add(version, ("user_tower", "item_tower", "index", "state", "retriever", "users", "ann"))
    pruned = prune(releases.serving, keep=2)
    assert pruned.removed == (1, 2, 3)
    assert pruned.kept == {4: "the one before the current release 5", 5: "the current release"}
    for part in ("user_tower", "item_tower", "index", "state", "retriever", "users", "ann", "releases"):
        assert releases.versions(part) == [4, 5]
    assert read_release(releases.serving, 4).version == 4


def test_one_is_kept_and_still_the_one_before_it_stays(releases):
    for version in (1, 2, 3):
        releases.add(version)
    assert prune(releases.serving, keep=1).removed == (1,)


def test_after_a_rollback_the_current_one_and_the_one_before_it_stay(releases):
    for version in range(1, 8):
        releases.add(version)
    roll_back(releases.serving, 3)
    pruned = prune(releases.serving, keep=1)
    assert pruned.removed == (1, 4, 5, 6)
    assert pruned.kept == {
        2: "the one before the current release 3", 3: "the current release", 7: "among the newest 1",
    }  # fmt: skip


def test_the_base_of_one_that_stays_stays_but_not_that_ones_base(releases):
    releases.add(1)
    releases.add(2, warm_start=warm(1))
    releases.add(3)
    releases.add(4)
    releases.add(5, warm_start=warm(2))
    pruned = prune(releases.serving, keep=1)
    assert pruned.removed == (1, 3)
    assert pruned.kept[2] == "the base of the warm start of release 5"
    # The base of release 2 is gone by now.
    assert prune(releases.serving, keep=1).removed == ()


def test_what_is_read_stays_as_long_as_it_is_read(releases):
    for version in range(1, 6):
        releases.add(version)
    release = read_release(releases.serving, 1)
    lease = take_lease(releases.serving, 2)
    pruned = prune(releases.serving, keep=1)
    assert (pruned.removed, pruned.kept[1], pruned.kept[2]) == ((3,), "being read", "being read")
    lease.close()
    assert prune(releases.serving, keep=1).removed == (2,)
    assert (release.index / "data.bin").is_file()
    del release
    gc.collect()
    assert prune(releases.serving, keep=1).removed == (1,)


def test_what_another_process_reads_stays_until_it_ends(releases):
    for version in (1, 2, 3):
        releases.add(version)
    program = (
        "import sys; from schemas.release import read_release; "
        "release = read_release(sys.argv[1], 1); print('reads', flush=True); sys.stdin.read()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, releases.serving], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert reader.stdout.readline() == b"reads\n"
        assert prune(releases.serving, keep=1).kept[1] == "being read"
    finally:
        reader.kill()
        reader.wait()
        reader.stdin.close()
        reader.stdout.close()
    assert prune(releases.serving, keep=1).removed == (1,)


def test_there_is_no_lease_on_a_release_that_is_gone(releases):
    releases.add(1)
    assert take_lease(releases.serving, 2) is None
    assert take_lease("s3://bucket/serving", 1) is None


def test_leases_leave_no_open_file_behind(releases):
    releases.add(1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with take_lease(releases.serving, 1):
            pass
        read_release(releases.serving, 1)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_push_in_progress_is_left_alone(releases):
    for version in (1, 2, 3):
        releases.add(version)
    (releases.serving / "releases" / "4").mkdir()
    (releases.serving / "releases" / "4" / ".claim").touch()
    (releases.serving / "index" / "4").mkdir()
    assert prune(releases.serving, keep=1).removed == (1,)
    assert releases.versions("index") == [2, 3, 4]


def test_a_dry_run_removes_nothing(releases):
    for version in (1, 2, 3):
        releases.add(version)
    assert prune(releases.serving, keep=1, dry_run=True).removed == (1,)
    assert releases.versions() == [1, 2, 3]


def test_none_is_no_number_to_keep(releases):
    with pytest.raises(ReleaseError, match=r"--keep: expected at least 1\. Received: 0\."):
        prune(releases.serving, keep=0)


def test_with_an_age_only_what_is_older_goes(releases):
    # Release N was published on the Nth of November at 10.
    for version in range(1, 7):
        releases.add(version)
    third = datetime.datetime(2026, 11, 3, 10, tzinfo=datetime.UTC)
    pruned = prune(releases.serving, keep=2, created_before=third)
    assert pruned.removed == (1, 2)
    assert pruned.kept == {
        3: "created since 2026-11-03 10:00", 4: "created since 2026-11-03 10:00",
        5: "the one before the current release 6", 6: "the current release",
    }  # fmt: skip
    # Far older than any of them, and still the newest stay.
    assert prune(releases.serving, keep=2, created_before=third.replace(year=2030)).removed == (3, 4)


def test_with_an_age_the_base_of_one_that_is_young_stays(releases):
    releases.add(1)
    releases.add(2)
    releases.add(3, warm_start=warm(1))
    releases.add(4)
    releases.add(5)
    third = datetime.datetime(2026, 11, 3, tzinfo=datetime.UTC)
    assert prune(releases.serving, keep=1, created_before=third).removed == (2,)


def test_a_release_of_unknown_age_stays(releases):
    for version in range(1, 6):
        releases.add(version, **({"created": "yesterday"} if version == 1 else {}))
    (releases.serving / "releases" / "2" / "manifest.json").write_text("{")
    later = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    pruned = prune(releases.serving, keep=1, created_before=later)
    assert pruned.removed == (3,)
    assert pruned.kept[1] == pruned.kept[2] == "of an age that cannot be read"


def test_only_the_versions_that_are_asked_for_go(releases):
    for version in range(1, 6):
        releases.add(version)
    pruned = prune(releases.serving, keep=1, versions=(2, 5))
    assert (pruned.removed, pruned.kept[5]) == ((2,), "the current release")
    assert releases.versions() == [1, 3, 4, 5]


def test_one_that_cannot_be_removed_does_not_keep_the_others(releases):
    for version in range(1, 6):
        releases.add(version)
    # Where the claim goes there is a folder.
    (releases.serving / "releases" / "1" / ".claim").mkdir()
    pruned = prune(releases.serving, keep=1)
    assert pruned.removed == (2, 3)
    assert list(pruned.failed) == [1]
    assert pruned.failed[1].startswith(f"Cannot remove release 1 from {releases.serving}: ")
    assert releases.versions() == [1, 4, 5]


def test_what_no_prune_removes(releases):
    for version in range(1, 7):
        releases.add(version, warm_start=warm(version - 3) if version > 3 else None)
    roll_back(releases.serving, 5)
    assert find_needed(releases.serving) == {
        1: "the base of the warm start of release 4", 2: "the base of the warm start of release 5",
        4: "the one before the current release 5", 5: "the current release",
    }  # fmt: skip
    assert find_needed(releases.serving / "nowhere") == {}
