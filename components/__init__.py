"""Custom TFX components; in each, logic.py holds plain functions and component.py the TFX adapter.

The artifact types are attributes of this package, since Kubeflow Pipelines identifies a type by
an import path of the form `package.Class`. They load on first use: importing a component's logic
must not import TFX.
"""

from typing import Any

_ARTIFACT_TYPES = ("AnnIndex", "CandidateIndex", "Catalogue", "DeadLetters", "Report", "Sequences")


def __getattr__(name: str) -> Any:
    if name in _ARTIFACT_TYPES:
        from components import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
