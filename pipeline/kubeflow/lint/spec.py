"""Checks a file of `dssm compile` for what Kubeflow Pipelines refuses late or gets wrong without a word.

The server checks little when a pipeline is uploaded: most mistakes stop a run when it is created or
when a pod starts, and some are dropped silently. What is looked for is what a file of this project can hold
after its configuration was checked; a file of another origin may hold more. The rules are taken from the
source of the API server, the compiler, the driver and the launcher of KFP 2.14 to 2.17, and of Argo
Workflows, which runs what they make.
"""

from collections.abc import Sequence

from pipeline.kubeflow.lint.document import read_file
from pipeline.kubeflow.lint.finding import Finding
from pipeline.kubeflow.lint.names import check_names
from pipeline.kubeflow.lint.sizes import check_sizes
from pipeline.kubeflow.lint.texts import check_texts
from schemas.errors import ConfigError


def lint_spec(text: str) -> list[Finding]:
    """Find what open-source KFP would refuse late or get wrong silently.

    Args:
        text: What `dssm compile` wrote: one YAML document with the pipeline, and perhaps a second one
            with the settings for Kubernetes.

    Returns:
        The findings, the same ones in the same order for the same text; where the file cannot be read into
        KFP's messages, that alone.
    """
    try:
        compiled = read_file(text)
    except ConfigError as error:
        return [Finding("(file)", str(error), "Write it again with dssm compile")]
    return [*check_names(compiled), *check_texts(compiled), *check_sizes(compiled)]


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
