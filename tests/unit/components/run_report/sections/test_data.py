import pytest

from components.run_report.blocks import Text
from components.run_report.sections.data import describe_data

pytestmark = pytest.mark.unit


def test_what_is_given_without_metadata_is_told():
    blocks = describe_data({"metadata_defaults": {"age": 40, "city": ""}}).blocks
    assert Text("Users and items without metadata were given age 40, city ''.") in blocks
    # What nobody is given is not told.
    assert not any("were given" in str(block) for block in describe_data({"metadata_defaults": {}}).blocks)
