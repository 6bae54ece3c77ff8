"""What looks like a credential, by its name: such a value stands in no compiled file."""

import re
from typing import Final

_SECRET: Final = re.compile(
    r"(^|_)(SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|TOKENS?|CREDENTIALS?|APIKEY)(_|$)"
    r"|(API|ACCESS|SECRET|PRIVATE|ACCOUNT|ENCRYPTION)_?KEY",
    re.IGNORECASE,
)
# Where the secret is, not the secret.
_LOCATION: Final = re.compile(
    r"(_FILE|_PATH|_DIR|_DIRECTORY|_NAME|_URI|_URL|^GOOGLE_APPLICATION_CREDENTIALS)$", re.IGNORECASE
)


def names_credential(name: str) -> bool:
    """Tell whether a variable or option of this name holds a secret.

    Args:
        name: The name of an environment variable, or of a command-line option with or without dashes.

    Returns:
        True for names such as AWS_SECRET_ACCESS_KEY; False for those of a secret's location.
    """
    name = name.lstrip("-").replace("-", "_")
    return bool(_SECRET.search(name)) and not _LOCATION.search(name)


def find_credential_options(options: tuple[str, ...] | list[str]) -> list[str]:
    """List the command-line options that hold a secret.

    Args:
        options: Arguments such as `--name=value`.

    Returns:
        The names, without the values.
    """
    names = [option.partition("=")[0] for option in options if option.startswith("--") and "=" in option]
    return [name for name in names if names_credential(name)]
