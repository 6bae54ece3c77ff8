import gc
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ReleaseError
from schemas.release import prune, read_release, roll_back, take_lease

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
