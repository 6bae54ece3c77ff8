"""`dssm serve`: the current release over HTTP."""

import os

import click

from pipeline.commands.options import follows_last_run, reports_errors


@click.command("serve")
@follows_last_run
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every one."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any free one."
)
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="How often a new or rolled-back release is looked for.",
)
@click.option(
    "--stop-seconds",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How long requests may take to their end after SIGTERM.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Model calls at the same time.  [default: the machine's cores, at most 8]",
)
@click.option(
    "--max-body-mib", type=click.IntRange(min=1), default=4, show_default=True, help="A body's size."
)
@click.option(
    "--max-rows", type=click.IntRange(min=1), default=1024, show_default=True, help="A batch's rows."
)
@click.option(
    "--max-k", type=click.IntRange(min=1), default=1000, show_default=True, help="An answer's items."
)
@click.option(
    "--max-list",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Entries of a list in a request for recommendations, such as exclude.",
)
@click.option(
    "--max-concurrent",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Requests at the same time; more are answered with 503.",
)
@reports_errors
def serve_command(
    config: str,
    overrides: tuple[str, ...],
    host: str,
    port: int,
    poll_seconds: float,
    stop_seconds: int,
    threads: int | None,
    max_body_mib: int,
    max_rows: int,
    max_k: int,
    max_list: int,
    max_concurrent: int,
) -> None:
    """Serve the current release: recommendations, TensorFlow Serving's REST API, and a page.

    A new or rolled-back release takes over without a request failing; one that is damaged or mixed is
    refused, and the old one goes on answering. There is no authentication: put a proxy with one before it
    where others than trusted programs can reach it.
    """
    from pipeline.config import load_config

    settings = load_config(config, overrides)

    from pipeline.serving.limits import Limits
    from pipeline.serving.server import ServerOptions, serve
    from schemas.arrow_alone import use_arrow_alone

    use_arrow_alone()
    limits = Limits(
        body_bytes=max_body_mib << 20,
        rows=max_rows,
        k=max_k,
        list_entries=max_list,
        concurrent=max_concurrent,
    )
    options = ServerOptions(
        host=host,
        port=port,
        poll_seconds=poll_seconds,
        stop_seconds=stop_seconds,
        threads=threads or min(8, len(os.sched_getaffinity(0))),
    )
    serve(settings, options, limits)
