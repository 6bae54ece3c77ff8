"""`dssm config`: every configuration key, its default, and what it means."""

import click


@click.command("config")
def config_command() -> None:
    """Print every key of the configuration and schema files, with defaults."""
    from pipeline.config_reference import render_reference

    click.echo(render_reference(), nl=False)
