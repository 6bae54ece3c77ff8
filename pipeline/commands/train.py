"""`dssm train`: the Trainer step as a command, for one worker of several or for one machine alone."""

import sys
from typing import Final

import click

from pipeline.commands.options import reports_errors, takes_config

EXIT_WORKER_LOST: Final = 138
"""Exit status where another worker is gone: under restartPolicy ExitCode the Training Operator starts a pod
again whose status is 128 or more, and ends the job on any other."""


@click.command("train")
@takes_config
@click.option("--sequences", required=True, metavar="URI", help="InteractionIngest's artifact sequences.")
@click.option("--catalogue", required=True, metavar="URI", help="InteractionIngest's artifact catalogue.")
@click.option(
    "--user-transform", required=True, metavar="URI", help="UserTransform's artifact transform_graph."
)
@click.option(
    "--item-transform", required=True, metavar="URI", help="ItemTransform's artifact transform_graph."
)
@click.option(
    "--context-transform",
    metavar="URI",
    help="ContextTransform's artifact transform_graph, which there is with context features.",
)
@click.option("--output", required=True, metavar="URI", help="The model artifact to write.")
@click.option(
    "--checkpoints",
    metavar="URI",
    help="Folder of the checkpoints, the same for all workers.  [default: training.checkpoint.directory]",
)
@click.option(
    "--serving",
    metavar="URI",
    help="Folder of the releases, for a warm start.  [default: serving.directory]",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=1.0),
    default=600.0,
    show_default=True,
    help="Seconds to wait at the start for the other workers.",
)
@reports_errors
def train_command(
    config: str,
    overrides: tuple[str, ...],
    sequences: str,
    catalogue: str,
    user_transform: str,
    item_transform: str,
    context_transform: str | None,
    output: str,
    checkpoints: str | None,
    serving: str | None,
    timeout_seconds: float,
) -> None:
    """Train on what the ingest and the Transforms wrote, and write what the Trainer step would have.

    With training.strategy: multi_worker this is one worker; TF_CONFIG says which, and where the others are. A
    URI is a local path, s3://... or gs://...

    Exit status: 0 when the model is written, 1 on an error, 138 where another worker was lost: start all
    again, and training goes on from its last checkpoint.
    """
    from pipeline.config import load_config

    settings = load_config(config, overrides)
    features = settings.load_features()

    from pipeline.console import showing_progress
    from pipeline.ticking import ticking
    from pipeline.waiting import waiting
    from schemas.progress import showing_step

    with showing_progress():
        with waiting("Importing TensorFlow", "up to a minute the first time, seconds after that"):
            from trainer.cluster import WorkerLostError
            from trainer.worker import WorkerLocations, train_worker

        locations = WorkerLocations(
            sequences=sequences,
            catalogue=catalogue,
            user_transform_graph=user_transform,
            item_transform_graph=item_transform,
            context_transform_graph=context_transform,
            output=output,
            checkpoint_directory=checkpoints or settings.training.checkpoint.directory,
            serving_directory=serving or settings.serving.directory,
        )
        try:
            with showing_step("Training"), ticking():
                train_worker(locations, features, settings.trainer, start_timeout_seconds=timeout_seconds)
        except WorkerLostError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(EXIT_WORKER_LOST)
