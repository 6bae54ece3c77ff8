"""Artifacts as the launcher sends them, and what is removed for them."""

import json
from pathlib import Path

import pytest

from pipeline.kubeflow.container_io import ContainerError, parse_invocation, prepare_outputs

pytestmark = pytest.mark.unit


def test_working_folder_outlives_an_output_without_a_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_text("x")
    monkeypatch.chdir(tmp_path)
    artifact = {"name": "model", "type": {"schemaTitle": "tfx.Model"}}
    message = {"outputs": {"artifacts": {"model": {"artifacts": [artifact]}}, "outputFile": "/out.json"}}
    with pytest.raises(ContainerError, match="Artifact URI '': expected a URI"):
        prepare_outputs(parse_invocation(json.dumps(message), None, tmp_path))
    assert (tmp_path / "kept").exists()
