"""The whole ingest: tables in, every output of InteractionIngest out."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from components.interaction_ingest.beam.interactions import IngestInteractions
from components.interaction_ingest.beam.joins import Joins
from components.interaction_ingest.beam.writing import ITEM_COUNTS_PATTERN, ITEMS_FILE, USERS_FILE
from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.counts import IngestCounts, merge_counts
from components.interaction_ingest.dead_letters import write_rejections
from components.interaction_ingest.entity_rows import build_catalogue
from components.interaction_ingest.examples_file import EXAMPLES_FILE, write_examples
from components.interaction_ingest.figures import count_cut_values, describe_figures
from components.interaction_ingest.fingerprints import fingerprint_days, fingerprint_inputs
from components.interaction_ingest.item_rows import add_counts, list_items
from components.interaction_ingest.joins import choose_join
from components.interaction_ingest.outputs import IngestOutputs, split_folder, write_whole
from components.interaction_ingest.reading.inputs import Inputs, check_inputs
from components.interaction_ingest.report import build_report, check_counts
from schemas.contract import CATALOGUE_FILE, DEAD_LETTERS_FILE, ENTITY_SPLIT, INGEST_REPORT_FILE, TRAIN_ROWS
from schemas.features import FeatureSpec

_COUNTS_FILE = "counts.json"
_TABLE_ROWS = 131_072


def run_ingest(
    make_pipeline: Callable[[], beam.Pipeline],
    spec: FeatureSpec,
    config: IngestConfig,
    data_directory: str,
    outputs: IngestOutputs,
    window: WindowConfig | None = None,
    input_fingerprint: str = "",
) -> dict[str, Any]:
    """Read the tables and write sequences, users, items, contexts, catalogue, report and dead letters.

    Args:
        make_pipeline: Makes the Beam pipeline to run on.
        spec: The features.
        config: The rules, the split, and what to do about missing metadata.
        data_directory: The folder of the tables: a path or URI.
        outputs: The folders to write to; what is in them is replaced.
        window: The days to read; None: all.
        input_fingerprint: What `fingerprint_inputs` gives, for the report; '' to compute it here.

    Returns:
        The report.

    Raises:
        ConfigError: `missing_metadata: default`, and a feature of the tables has no default.
        DataError: The data cannot be used; the message says why.
        StorageError: The tables' store cannot be reached or refuses.
    """
    inputs = check_inputs(spec, config, data_directory, window)
    fingerprint = input_fingerprint or fingerprint_inputs(spec, data_directory, window)
    days = fingerprint_days(spec, data_directory, window)
    outputs.prepare(config)
    try:
        _write_rejected_inputs(inputs, outputs)
        counts = _ingest_interactions(make_pipeline, inputs, spec, config, outputs)
        check_counts(counts, inputs, spec, config)
        item_counts = sorted(outputs.work.glob(ITEM_COUNTS_PATTERN))
        if spec.tables.items is None:
            catalogue = pa.table({spec.item_id.name: list_items(item_counts)})
        else:
            catalogue = build_catalogue(
                inputs.items.table, spec, counts.unknown_items, config.missing_metadata
            )
        of_items = add_counts(item_counts, catalogue.column(spec.item_id.name).combine_chunks())
    finally:
        shutil.rmtree(outputs.work, ignore_errors=True)
    items = catalogue
    for name, rows in of_items.items():
        items = items.append_column(name, pa.array(rows))
    _write_items(items, outputs)
    figures = describe_figures(counts, of_items[TRAIN_ROWS])
    cut = count_cut_values(inputs.items.table, spec)
    report = build_report(
        counts, inputs, len(catalogue), fingerprint, days, figures, cut, _metadata_defaults(spec, config)
    )
    write_whole(outputs.catalogue / CATALOGUE_FILE, lambda path: pq.write_table(catalogue, path))
    if outputs.dead_letters is not None:
        # Always a file, since an orchestrator may drop an empty folder and then miss the output.
        rejected = {
            "interactions": report["rejected"],
            "users": report["user_table_dropped"],
            "items": report["item_table_dropped"],
        }
        _write_json(rejected, outputs.dead_letters / DEAD_LETTERS_FILE)
    _write_json(report, outputs.report / INGEST_REPORT_FILE)
    return report


def _metadata_defaults(spec: FeatureSpec, config: IngestConfig) -> dict[str, Any]:
    """Give what users and items without metadata are given; nothing where they are not kept."""
    if config.missing_metadata != "default":
        return {}
    features = (*spec.table_features("user"), *spec.table_features("item"))
    return {feature.name: feature.default for feature in features if feature.role is None}


def _write_rejected_inputs(inputs: Inputs, outputs: IngestOutputs) -> None:
    """Write the dead letters that are known before the interactions are read."""
    if outputs.dead_letters is None:
        return
    for name, rejections in (
        ("users", inputs.users.rejections),
        ("items", inputs.items.rejections),
        ("interactions-files", (inputs.rejections,)),
    ):
        write_rejections(rejections, name, str(outputs.dead_letters), outputs.work)


def _ingest_interactions(
    make_pipeline: Callable[[], beam.Pipeline],
    inputs: Inputs,
    spec: FeatureSpec,
    config: IngestConfig,
    outputs: IngestOutputs,
) -> IngestCounts:
    """Run the Beam steps, and give the sum of what they counted."""
    work = outputs.work
    users, item_ids = inputs.users.table, inputs.items.table.select([spec.item_id.name])
    pq.write_table(users, work / USERS_FILE, row_group_size=_TABLE_ROWS)
    pq.write_table(item_ids, work / ITEMS_FILE, row_group_size=_TABLE_ROWS)
    joins = Joins(
        users=choose_join(config, users.nbytes) if spec.tables.users is not None else "none",
        items=choose_join(config, item_ids.nbytes) if spec.tables.items is not None else "none",
    )
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Pieces" >> beam.Create(inputs.row_groups)
            | "Ingest" >> IngestInteractions(spec, config, inputs.rows, outputs, inputs.window, joins)
            | "WriteCounts" >> beam.Map(_write_counts, work / _COUNTS_FILE)
        )
    counts = IngestCounts.from_json((work / _COUNTS_FILE).read_text(encoding="utf-8"))
    return merge_counts([counts, inputs.rejections.count()])


def _write_counts(counts: IngestCounts, path: Path) -> None:
    write_whole(path, lambda unfinished: unfinished.write_text(counts.to_json(), encoding="utf-8"))


def _write_items(items: pa.Table, outputs: IngestOutputs) -> None:
    """Write the examples of the items, as many a file as a reader takes at once."""
    folder = split_folder(outputs.items, ENTITY_SPLIT)
    files = max(1, math.ceil(len(items) / _TABLE_ROWS))
    for number in range(files):
        write_examples(
            items.slice(number * _TABLE_ROWS, _TABLE_ROWS),
            folder / EXAMPLES_FILE.format(number=number, files=files),
        )


def _write_json(content: dict[str, Any], path: Path) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
