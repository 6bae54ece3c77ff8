import pytest
from click.testing import CliRunner

from pipeline.cli import main

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--user", "1", "--similar", "2"], "Expected one of: a user"),
        (["--history", "1", "--batch", "u.csv", "--output", "o"], "Received: several."),
        (["--batch", "u.csv"], "Expected --batch and --output together."),
        (["--user", "1", "--output", "o"], "Expected --batch and --output together."),
        (["--similar", "2", "--explain"], "Expected --explain with one user."),
        (["--similar", "2", "--no-repeats"], "Expected --similar without --repeats."),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    result = CliRunner().invoke(main, ["recommend", *options])
    assert result.exit_code == 1
    assert message in result.output


def test_similar_items_on_the_screen(toy_serving, capfd):
    toy_serving.publish(6)
    options = ["--config", str(toy_serving.config), "--similar", "10", "--k", "2"]
    main(["recommend", *options], standalone_mode=False)
    _, text = capfd.readouterr().out.split("Nearest to Ten (")
    # After the title an empty line, a header, a rule and two items.
    assert len(text.splitlines()) == 6
