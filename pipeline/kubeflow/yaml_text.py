"""Writes the documents of a compiled pipeline as YAML that every parser reads alike."""

import re
from collections.abc import Sequence
from typing import Any

import yaml


def write_documents(documents: Sequence[Any]) -> str:
    """Write plain data as YAML documents.

    Args:
        documents: Mappings, lists and scalars.

    Returns:
        The documents, their keys sorted and without anchors; the same text for equal data.
    """
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=2**31, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# A text without quotes that begins like a number, such as the hash 12345e67, is one to some of the parsers.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+.]*[0-9].*", re.DOTALL), list("-+.0123456789")
)
