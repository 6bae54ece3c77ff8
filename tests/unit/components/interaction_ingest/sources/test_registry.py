import typing

import pytest

from components.interaction_ingest.sources.registry import FORMATS, find_by_ending
from schemas.errors import ConfigError
from schemas.features import Format, InteractionTable
from schemas.strict_config import parse

pytestmark = pytest.mark.unit


def test_the_schema_file_knows_every_format_and_no_other():
    assert typing.get_args(Format) == tuple(FORMATS)


def test_an_ending_is_of_one_format():
    endings = [ending for one in FORMATS.values() for ending in one.endings]
    assert len(set(endings)) == len(endings)
    assert all(find_by_ending(ending).endings.count(ending) == 1 for ending in endings)
    assert find_by_ending(".txt") is None


def test_an_unknown_format_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"format.*'avro'.*did you mean 'avro'.*'avor'"):
        parse(InteractionTable, {"format": "avor"}, source="test")
