import pytest

from pipeline.queries import notes

pytestmark = pytest.mark.unit


def test_of_many_unknown_items_the_first_are_named():
    assert notes.note_unknown_items(3, 3, []) == []
    # Of one that was given twice there are two.
    assert notes.note_unknown_items(1234, 1232, ["x"]) == [
        "2 of the 1,234 items of the history are not in the catalogue and were left out: x."
    ]
    [note] = notes.note_unknown_items(11, 0, list("abcdefghijk"))
    assert note.endswith("left out: a, b, c, d, e, f, g, h, i, j, ...")
    [note] = notes.note_unknown_items(10, 0, list("abcdefghij"))
    assert note.endswith("h, i, j.")


def test_a_history_that_is_not_read_changes_something_or_nothing():
    assert notes.note_unread_history(True).endswith("the given one only leaves its items out.")
    assert notes.note_unread_history(False).endswith("the given one changes nothing.")


def test_what_is_enough_is_not_noted():
    assert notes.note_older_items(3, 3) == []
    assert notes.note_older_items(3, 4) == ["The model reads the newest 3 of the 4 items of the history."]
    assert notes.note_few_items(5, 5, 6) == []
    assert notes.note_few_items(4, 5, 6) == ["Only 4 items are left of the 6 in the catalogue."]


def test_the_time_that_is_counted_up_to_is_told_in_utc():
    assert notes.note_counted_up_to("the log's end", 86_399) == (
        "How long ago the items of the history were counts from the log's end, 1970-01-01 23:59:59 UTC."
    )
