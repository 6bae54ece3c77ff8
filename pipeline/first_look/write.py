"""The files of `dssm init`, written once and never over others."""

from pathlib import Path

from pipeline.first_look.derived_tables import write_derived_table
from pipeline.first_look.plan import Plan
from pipeline.first_look.rendering import CONFIG_FILE, SCHEMA_FILE, render_project
from pipeline.first_look.roles import Side
from schemas.errors import ConfigError


def require_free(output: Path) -> None:
    """Refuse a folder with files that would be overwritten.

    Args:
        output: The folder.

    Raises:
        ConfigError: One of the files is there.
    """
    names = (SCHEMA_FILE, CONFIG_FILE, "tables/users.parquet", "tables/items.parquet")
    present = [name for name in names if (output / name).exists()]
    if present:
        raise ConfigError(
            f"{output} has {', '.join(present)} already, and nothing is overwritten. Name another folder "
            "with --output, or remove them."
        )


def write_project(plan: Plan, output: Path) -> dict[Side, int]:
    """Write the schema file, the configuration and the tables that are made of the log.

    Args:
        plan: The plan.
        output: Their folder, made where it is missing.

    Returns:
        Rows of the tables that were made.

    Raises:
        ConfigError: One of the files is there, or the folder cannot be written.
    """
    require_free(output)
    project = render_project(plan, output)
    rows: dict[Side, int] = {}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for side, path in project.derived.items():
            names = [feature.column for feature in plan.features if feature.tower == side]
            names += [column for _, column in plan.display if side == "item"]
            rows[side] = write_derived_table(plan.entity(side), names, path)
        for name, text in ((SCHEMA_FILE, project.schema), (CONFIG_FILE, project.config)):
            # Another process may have written it in the meantime.
            with (output / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigError(
            f"Cannot write to {output}: {error}. Name a folder that is writable and has room with --output."
        ) from error
    return rows
