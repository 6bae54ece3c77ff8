"""The reference names every key, and the page in docs/ is up to date."""

import pytest

from pipeline.config_reference import list_keys, render_reference
from schemas.features import FeatureSpec
from trainer.config import TrainerConfig

pytestmark = pytest.mark.unit


def test_page_is_up_to_date(repository):
    page = (repository / "docs/configuration.md").read_text()
    assert page == render_reference(), "run: .venv/bin/dssm config > docs/configuration.md"


def test_keys_carry_default_and_docstring():
    keys = {key.key: key for key in list_keys(TrainerConfig)}
    assert keys["training.per_replica_batch"].default == "`512`"
    assert keys["loss.temperature"].description == "What the cosine similarities are divided by."
    assert all(key.description for key in keys.values())


def test_keys_of_a_base_class_carry_its_docstrings():
    keys = {key.key: key for key in list_keys(FeatureSpec)}
    assert keys["tables.items.delimiter"].description.startswith("What stands between the fields of a CSV")


def test_union_members_are_listed_with_their_kind():
    reference = render_reference()
    assert "| `ingest.split.kind` | `cut_off` |" in reference
    assert "| `features[].encoding.buckets` | required |" in reference
