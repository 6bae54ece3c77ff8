"""Names that hold secrets, and names that only say where one is."""

import pytest

from pipeline.config import load_config
from pipeline.credentials import find_credential_options, names_credential
from schemas.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "--s3_secret_access_key",
        "--api-key",
    ],
)
def test_secrets(name):
    assert names_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        "TOKENIZERS_PARALLELISM",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "--runner",
        "KEYBOARD",
    ],
)
def test_no_secrets(name):
    assert not names_credential(name)


def test_options_are_named_without_their_values():
    options = ["--runner=FnApiRunner", "--s3_secret_access_key=hunter2", "python", "--json={{$}}"]
    assert find_credential_options(options) == ["--s3_secret_access_key"]


def test_beam_options_with_a_secret_are_refused():
    with pytest.raises(ConfigError, match=r"beam: --s3_secret_access_key would be readable") as error:
        load_config(
            "pipeline/configs/movielens_100k.yaml", ("beam.options=[--s3_secret_access_key=hunter2]",)
        )
    assert "hunter2" not in str(error.value).replace(
        "--set beam.options=[--s3_secret_access_key=hunter2]", ""
    )
