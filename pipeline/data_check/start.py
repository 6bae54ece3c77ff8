"""What `dssm run` says of the data before it starts."""

from collections.abc import Sequence
from typing import Final

from components.interaction_ingest.config import WindowConfig
from components.interaction_ingest.sources.files import find_files
from components.interaction_ingest.sources.parts import DataFile
from components.interaction_ingest.sources.registry import FORMATS
from pipeline.config import PipelineConfig
from pipeline.data_check.figures import measure_data
from pipeline.data_check.reading import read_log
from pipeline.data_check.report import render_main_lines
from pipeline.data_check.verdict import judge
from schemas.errors import DssmError
from schemas.features import FeatureSpec

START_ROWS: Final = 100_000
"""Interactions that are read for it, in about a second."""
WHOLE_BYTES: Final = 64 * 2**20
"""Size up to which files are read whole for it: the user and item tables, and a log whose newest row is
looked for."""


def describe_start(config: PipelineConfig, spec: FeatureSpec) -> list[str]:
    """Say in a few lines what the data are and what is doubtful about them.

    Args:
        config: The settings.
        spec: The features.

    Returns:
        The lines; where large files would have to be read whole, one that says which command does; where the
        data cannot be read, why: the step that reads them fails then, and is recorded with it.
    """
    try:
        return _describe(config, spec)
    except DssmError as error:
        return [f"Data: they cannot be read, it seems. {error}"]


def _describe(config: PipelineConfig, spec: FeatureSpec) -> list[str]:
    tables = [table for table in (spec.tables.users, spec.tables.items) if table is not None]
    directory = config.data.directory
    if sum(file.size_bytes for table in tables for file in find_files(table, directory)) > WHOLE_BYTES:
        return ["Data: the user and item tables are large; `dssm check` looks at them"]
    if _is_read_for_window(find_files(spec.tables.interactions, directory), config.ingest.window):
        return [
            "Data: the interactions are many, and ingest.window.last_days counts back from the newest, which "
            "only a look at all of them tells; `dssm check` looks at them"
        ]
    log = read_log(spec, config.ingest, directory, START_ROWS)
    figures = measure_data(log, config, spec)
    return [
        *render_main_lines(figures),
        *(f"{finding.level.capitalize()}: {finding.text}" for finding in judge(figures, config)),
    ]


def _is_read_for_window(files: Sequence[DataFile], window: WindowConfig | None) -> bool:
    """Tell whether a large log has to be read from its beginning to its end to know which days are read."""
    counts_back = window is not None and window.last_days is not None and files[0].day is None
    size_bytes = sum(file.size_bytes for file in files)
    return counts_back and not FORMATS[files[0].format].has_statistics and size_bytes > WHOLE_BYTES
