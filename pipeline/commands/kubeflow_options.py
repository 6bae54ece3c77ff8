"""What the commands that talk to Kubeflow Pipelines share: the endpoint and the pipeline to send."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import DEFAULT_CONFIG

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.preparation import Target
    from pipeline.kubeflow.upload import CompiledPipeline
    from schemas.features import FeatureSpec

_FILE = click.Path(path_type=Path, dir_okay=False)
_ENDPOINT_OPTIONS = (
    click.option(
        "--host",
        required=True,
        envvar="KF_PIPELINES_ENDPOINT",
        show_envvar=True,
        metavar="URL",
        help="Kubeflow Pipelines: its API or its user interface, such as http://localhost:8888.",
    ),
    click.option("--namespace", help="Your namespace (profile), where the installation has several users."),
    click.option("--token-file", type=_FILE, help="File with a bearer token; read again when it is renewed."),
    click.option("--cookie-file", type=_FILE, help="File with the value of a browser's Cookie header."),
    click.option(
        "--in-cluster",
        is_flag=True,
        help="Insist on the service account token of this pod; without any credentials it is used if there.",
    ),
    click.option("--ca-file", type=_FILE, help="Certificates (PEM) of the server's authority."),
    click.option(
        "--timeout-seconds",
        type=click.IntRange(min=1),
        default=60,
        show_default=True,
        help="How long one answer may take.",
    ),
)
_PIPELINE_OPTIONS = (
    click.option("--pipeline-file", type=_FILE, help="A pipeline that `dssm compile` wrote."),
    click.option("--config", help=f"Compile this configuration instead.  [default: {DEFAULT_CONFIG}]"),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override one key of the configuration; repeatable.",
    ),
    click.option(
        "--parameter",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="A run parameter that differs from its default; repeatable.",
    ),
    click.option("--pipeline-name", help="What the pipeline is called there.  [default: its own name]"),
    click.option("--experiment", default="Default", show_default=True, help="The experiment of the runs."),
    click.option(
        "--pipeline-root",
        metavar="URI",
        help="Where artifacts are kept, such as s3://bucket/dir.  [default: the compiled file's, which is"
        " kubeflow.pipeline_root; otherwise the namespace's]",
    ),
    click.option("--service-account", help="The Kubernetes service account of the pods."),
)


def takes_endpoint(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of an endpoint, which the command gets as `endpoint`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from pipeline.kubeflow.client import Endpoint

        names = ("host", "namespace", "token_file", "cookie_file", "in_cluster", "ca_file", "timeout_seconds")
        command(*args, endpoint=Endpoint(**{name: kwargs.pop(name) for name in names}), **kwargs)

    return _add(wrapped, _ENDPOINT_OPTIONS)


def takes_pipeline(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is sent and what its runs are given."""
    return _add(command, _PIPELINE_OPTIONS)


def read_pipeline(
    pipeline_file: Path | None, config: str | None, overrides: tuple[str, ...], *, retraining: bool = False
) -> CompiledPipeline:
    """Read the compiled pipeline, or compile the configuration.

    Args:
        pipeline_file: A compiled pipeline; None to compile.
        config: The configuration; None for the default one.
        overrides: `--set` texts for it.
        retraining: Whether a run of what is compiled does what `dssm retrain` does, instead of `dssm run`.

    Returns:
        The pipeline.

    Raises:
        DssmError: Both are given, or either is wrong.
    """
    from pipeline.kubeflow.client import KubeflowError
    from pipeline.kubeflow.upload import read_compiled

    if pipeline_file is None:
        config = config or DEFAULT_CONFIG
        prepared, features = load_prepared(config, overrides)
        click.echo(f"Compiling {config}")
        return read_compiled(compile_checked(prepared, features, retraining=retraining), config)
    if config or overrides:
        raise KubeflowError(
            "--pipeline-file is compiled already: give either it, or --config and --set. What changes from"
            " run to run is a --parameter."
        )
    try:
        text = pipeline_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KubeflowError(f"--pipeline-file: cannot read {pipeline_file}: {error}.") from None
    return read_compiled(text, str(pipeline_file))


def load_prepared(
    config: str, overrides: tuple[str, ...], target: Target = "kubeflow"
) -> tuple[PipelineConfig, FeatureSpec]:
    """Load a configuration and make it ready to be compiled.

    Refuses what is wrong before TFX is imported, which takes as long as everything else.

    Args:
        config: The configuration.
        overrides: `--set` texts for it.
        target: Where the pipeline shall run.

    Returns:
        What `prepare_config` gives, and the features.

    Raises:
        DssmError: The configuration is wrong.
    """
    from pipeline.config import load_config
    from pipeline.kubeflow.preparation import prepare_config

    settings = load_config(config, overrides)
    features = settings.load_features()
    prepared = prepare_config(settings, target)
    if features.tables.display:
        # Takes a second to import.
        from components.candidate_indexer.display import look_for_display_here

        look_for_display_here(features, prepared.data.directory)
    return prepared, features


def compile_checked(
    prepared: PipelineConfig, features: FeatureSpec, target: Target = "kubeflow", *, retraining: bool = False
) -> str:
    """Compile a configuration, and check what comes out.

    Args:
        prepared: What `load_prepared` gave.
        features: Its features.
        target: Where the pipeline shall run.
        retraining: Whether a run does what `dssm retrain` does, instead of `dssm run`; on Kubeflow alone.

    Returns:
        The compiled pipeline: YAML, or JSON for vertex.

    Raises:
        DssmError: Kubeflow Pipelines would refuse it.
    """
    from pipeline.console import noise_to_file

    with noise_to_file(Path(os.devnull)):
        if target == "vertex":
            from pipeline.kubeflow.vertex import compile_for_vertex

            return compile_for_vertex(prepared, features)
        from pipeline.kubeflow.compiler import compile_pipeline
        from pipeline.kubeflow.lint.spec import check_spec

        text = compile_pipeline(prepared, features, retraining=retraining)
        check_spec(text)
        return text


def _add(command: Callable[..., None], options: tuple[Callable[..., Any], ...]) -> Callable[..., None]:
    for option in reversed(options):
        command = option(command)
    return command
