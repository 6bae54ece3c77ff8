"""Checks a compiled pipeline for what Kubeflow Pipelines refuses late or gets wrong without a word.

The server checks little when a pipeline is uploaded: most mistakes stop a run when it is created or
when a pod starts, and some are dropped silently. The rules below are taken from the source of the API
server, the compiler, the driver and the launcher of KFP 2.14 to 2.17, and of Argo Workflows, which
runs what they make.
"""

from collections.abc import Sequence
from typing import Any

from pipeline.kubeflow.lint.document import IN_DEPLOYMENT, IN_PIPELINE, Linter, tell_apart
from pipeline.kubeflow.lint.finding import Finding
from pipeline.kubeflow.lint.messages import Messages
from pipeline.kubeflow.lint.pipeline import PipelineLinter
from pipeline.kubeflow.lint.platform import Platform, PlatformLinter
from pipeline.kubeflow.lint.sizes import SizeLinter
from pipeline.kubeflow.lint.texts import TextLinter
from pipeline.kubeflow.lint.workspace import WorkspaceLinter
from pipeline.kubeflow.lint.yaml_documents import DEEPEST_LEVEL, read_documents
from schemas.errors import ConfigError


def lint_spec(text: str) -> list[Finding]:
    """Find what open-source KFP would refuse late or get wrong silently.

    Args:
        text: What `dssm compile` wrote: one YAML document with the pipeline, and perhaps a second one
            with the settings for Kubernetes.

    Returns:
        The findings, the same ones in the same order for the same text; none for a pipeline that
        KFP 2.14 to 2.17 runs as it is written.
    """
    findings: list[Finding] = []
    documents = read_documents(text, findings)
    pipeline, platform = tell_apart(documents, findings)
    if pipeline is not None:
        _DocumentLinter(findings).check(pipeline, platform)
    return list(dict.fromkeys(findings))


def render_findings(findings: Sequence[Finding]) -> str:
    """Write findings for a terminal.

    Args:
        findings: What `lint_spec` found.

    Returns:
        A line that counts them, and one entry each: the path, the problem, what to do.
    """
    if not findings:
        return "Nothing found that Kubeflow Pipelines would refuse or get wrong"
    count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
    entries = [f"  {found.path}\n    {found.problem}.\n    {found.remedy}." for found in findings]
    return "\n".join([f"{count} that Kubeflow Pipelines would refuse late or get wrong silently:", *entries])


def check_spec(text: str) -> None:
    """Refuse a compiled pipeline that Kubeflow Pipelines would not run as it is written.

    Args:
        text: The YAML, as for `lint_spec`.

    Raises:
        ConfigError: There are findings; the message lists them all.
    """
    findings = lint_spec(text)
    if findings:
        raise ConfigError(render_findings(findings))


class _DocumentLinter(Linter):
    """Reads the documents into messages, and has every part of them checked."""

    def check(self, pipeline: dict[str, Any], platform: dict[str, Any] | None) -> None:
        # Importing kfp takes more than a second, and no other command needs it.
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        # A level of plain data is up to three of the messages'.
        levels = 3 * DEEPEST_LEVEL
        cleaned = self.clean(pipeline_spec_pb2.PipelineSpec.DESCRIPTOR, pipeline, "", IN_PIPELINE)
        spec = json_format.ParseDict(cleaned, pipeline_spec_pb2.PipelineSpec(), max_recursion_depth=levels)
        executors = self._clean_deployment(cleaned.get("deploymentSpec", {}))
        deployment = json_format.ParseDict(
            executors, pipeline_spec_pb2.PipelineDeploymentConfig(), max_recursion_depth=levels
        )
        read = Platform({}, {}, {})
        if platform is not None:
            read = PlatformLinter(self._findings, deployment).check(platform)
        PipelineLinter(self._findings, Messages(spec, deployment, read.configs)).check()
        SizeLinter(self._findings).check(cleaned, executors.get("executors", {}), read.settings)
        WorkspaceLinter(self._findings).check(cleaned, read.kubernetes)
        self._check_texts(cleaned | {"deploymentSpec": executors}, read)

    def _clean_deployment(self, written: dict[str, Any]) -> dict[str, Any]:
        from kfp.pipeline_spec import pipeline_spec_pb2

        # The server allows this one.
        deployment = {key: value for key, value in written.items() if key != "@type"}
        descriptor = pipeline_spec_pb2.PipelineDeploymentConfig.DESCRIPTOR
        return self.clean(descriptor, deployment, "deploymentSpec", IN_DEPLOYMENT)

    def _check_texts(self, pipeline: dict[str, Any], platform: Platform) -> None:
        texts = TextLinter(self._findings)
        texts.check(pipeline)
        others = {key: value for key, value in platform.kubernetes.items() if key != "deploymentSpec"}
        texts.check(
            {"platforms": {"kubernetes": others | {"deploymentSpec": {"executors": dict(platform.settings)}}}}
        )
