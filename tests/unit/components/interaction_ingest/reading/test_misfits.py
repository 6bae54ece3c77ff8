import pytest

pytestmark = pytest.mark.unit


def test_the_first_column_that_does_not_fit_is_named_with_what_was_expected(read_log):
    log = (
        b"user,item,timestamp,device,visits,tags,stars\n"
        b"a,1,10,tv,1,x,5\n"
        b"a,1,10,tv,many,x,few\n"
        b"a,1,10,tv,,x,few\n"
        b"a,1,noon,tv,1,x,5\n"
        b",1,10,tv,1,x,5\n"
    )
    rows, _, letters, _ = read_log("log.csv", log)
    assert len(rows) == 1
    # Of a value that is missing, nothing is expected; of other reasons, no column is named.
    found = {letter["row"]: (letter["reason"], letter["column"], letter["expected"]) for letter in letters}
    assert found == {
        2: ("wrong_type", "visits", "a whole number"),
        3: ("wrong_type", "stars", "a number"),
        4: ("wrong_type", "timestamp", "a time"),
        5: ("null_id", None, None),
    }
