"""What `dssm run` says of the data before it starts."""

from typing import Final

from components.interaction_ingest.sources.files import find_files
from pipeline.config import PipelineConfig
from pipeline.data_check.figures import measure_data
from pipeline.data_check.reading import read_log
from pipeline.data_check.report import render_main_lines
from pipeline.data_check.verdict import judge
from schemas.errors import DssmError
from schemas.features import FeatureSpec

START_ROWS: Final = 100_000
"""Interactions that are read for it, in about a second."""
TABLE_BYTES: Final = 64 * 2**20
"""Size of the user and item tables up to which they are read for it."""


def describe_start(config: PipelineConfig, spec: FeatureSpec) -> list[str]:
    """Say in a few lines what the data are and what is doubtful about them.

    Args:
        config: The settings.
        spec: The features.

    Returns:
        The lines; where the user and item tables are large, one that says which command looks at them; where
        the data cannot be read, why: the step that reads them fails then, and is recorded with it.
    """
    try:
        return _describe(config, spec)
    except DssmError as error:
        return [f"Data: they cannot be read, it seems. {error}"]


def _describe(config: PipelineConfig, spec: FeatureSpec) -> list[str]:
    tables = [table for table in (spec.tables.users, spec.tables.items) if table is not None]
    directory = config.data.directory
    if sum(file.size_bytes for table in tables for file in find_files(table, directory)) > TABLE_BYTES:
        return ["Data: the user and item tables are large; `dssm check` looks at them"]
    log = read_log(spec, config.ingest, directory, START_ROWS)
    figures = measure_data(log, config, spec)
    return [
        *render_main_lines(figures),
        *(f"{finding.level.capitalize()}: {finding.text}" for finding in judge(figures, config)),
    ]
