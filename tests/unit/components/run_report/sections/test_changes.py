import pytest

from components.run_report.blocks import Table, Text
from components.run_report.sections.changes import describe_changes, describe_samples

pytestmark = pytest.mark.unit


def test_the_length_of_the_lists_is_that_of_the_document(document) -> None:
    document["changes"] |= {"list_length": 7, "overlap": 0.625, "version": 4}
    text, *tables = describe_changes(document).blocks
    assert isinstance(text, Text)
    assert text.text.startswith(
        "Of the first 7 items of a user's list 62.5 % were in that user's list of rel"
    )
    assert "release 4" in text.text
    words = [word for table in tables for word in (table.caption, *table.columns)]
    assert not [word for word in words if "10" in word]
    assert sum("7" in word for word in words) == 3


def test_items_that_nobody_gained_or_lost_have_no_table(document) -> None:
    document["changes"] |= {"gained": [], "lost": []}
    [_, table] = describe_changes(document).blocks
    assert isinstance(table, Table)
    assert table.caption.startswith("The users")


def test_why_nothing_is_compared(document, first_document) -> None:
    [text] = describe_changes(first_document).blocks
    assert text.text == "There is no release yet, so there is nothing to compare with."
    released = {"version": 3, "model_id": None, "is_compared": False, "reason": "it has seen them"}
    [text] = describe_changes({**document, "changes": None, "released": released}).blocks
    assert text.text == "Not compared with the current release, version 3: it has seen them."


def test_a_sample_users_lists(document) -> None:
    def item(name: str) -> dict[str, str]:
        return {"item": name, "title": f"Film {name}"}

    sample = {
        "user": "7", "features": {"age": "25", "country": "NL"}, "history": [item("a")],
        "held_out": [item("b")], "recommended": [item("c"), item("b")], "released": None,
    }  # fmt: skip
    [person] = describe_samples({**document, "samples": [sample]}).blocks
    assert (person.name, person.note) == ("User 7", "age: 25, country: NL")
    assert [[cell.text for cell in one.items] for one in person.lists] == [
        ["Film a"], ["Film b"], ["Film c", "Film b (held out)"],
    ]  # fmt: skip
    [person] = describe_samples({**document, "samples": [{**sample, "released": []}]}).blocks
    assert person.lists[3].name == "current release"
