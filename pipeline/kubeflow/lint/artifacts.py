"""Checks the types of artifacts in a compiled pipeline."""

import re
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.yaml_documents import read_first_document

# TFX's rule for the title of a custom artifact, from which the container finds the class again.
ARTIFACT_TITLE: Final = re.compile(r"[a-z][a-z0-9-_]{2,20}[.][A-Z][a-zA-Z0-9-_]{2,49}")
LIBRARY_ARTIFACTS: Final = ("tfx.", "system.", "google.")


class ArtifactLinter(Linter):
    """Checks what the launcher and the containers read of an artifact's type."""

    def check_type(self, path: str, artifact_type: Any) -> None:
        """Check an ArtifactTypeSchema."""
        kind = artifact_type.WhichOneof("kind")
        if kind is None or kind == "schema_uri":
            self.add(
                path,
                "no instanceSchema and no schemaTitle; the launcher cannot record the artifact",
                "Write its instanceSchema",
            )
        elif kind == "instance_schema":
            self._check_schema(f"{path}.instanceSchema", read_first_document(artifact_type.instance_schema))

    def _check_schema(self, path: str, schema: Any) -> None:
        title = schema.get("title") if isinstance(schema, dict) else None
        if not isinstance(title, str) or not title:
            self.add(path, "no title in it; the launcher dies ('No title specified')", "Write title: ...")
        elif not title.startswith(LIBRARY_ARTIFACTS):
            self._check_custom_artifact(path, title, schema)

    def _check_custom_artifact(self, path: str, title: str, schema: dict[str, Any]) -> None:
        if not ARTIFACT_TITLE.fullmatch(title):
            self.add(
                path,
                f"expected a title that matches {ARTIFACT_TITLE.pattern}. Received: {title!r}, from"
                " which the container cannot import the artifact's class",
                "Correct the TYPE_NAME of the artifact",
            )
        if schema.get("properties"):
            self.add(
                path,
                f"the custom artifact {title} has properties ('not expected in artifact type schema')",
                "Drop its PROPERTIES and write custom properties",
            )
