"""The executor of RunReport."""

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_file_path, get_path
from components.run_report.config import ReportConfig
from components.run_report.inputs import RunFolders, read_facts
from components.run_report.report import ReportFiles, write_report
from schemas.contract import REPORT_MARKDOWN_FILE, REPORT_PAGE_FILE, REPORT_SCALARS_FILE, RUN_ID_VARIABLE
from schemas.features import ItemTable
from schemas.strict_config import from_json

RUN_PARAMETERS: Final = (
    "data_directory",
    "window_from",
    "window_to",
    "window_last_days",
    "epochs",
    "start",
    "serving_directory",
    "checkpoint_directory",
)
"""The properties that are shown as what the run was given."""

_UNKNOWN_RUN: Final = "unknown"


class RunReportExecutor(PlainExecutor):
    """Unpacks the artifacts for `write_report`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Write the report, and note its numbers in the artifact.

        Args:
            input_dict: As RunReportSpec declares them.
            output_dict: `page`, `markdown` and `scalars`; the latter's custom properties are the numbers.
            exec_properties: As RunReportSpec declares them.

        Raises:
            DataError: A document is missing, or the feature of the map is no column of the catalogue.
            ReleaseError: There is no index.
        """
        config = from_json(ReportConfig, exec_properties["report_config"])
        facts = read_facts(
            RunFolders(
                evaluation=get_path(input_dict, "evaluation_report"),
                ingest=get_path(input_dict, "ingest_report"),
                anomalies=get_path(input_dict, "anomaly_report"),
                model=get_path(input_dict, "model") / MODEL_FOLDER,
                logs=get_path(input_dict, "model_run"),
                index=get_path(input_dict, "index"),
            ),
            run_id=exec_properties.get("run_id") or os.environ.get(RUN_ID_VARIABLE) or _UNKNOWN_RUN,
            item_id=exec_properties["item_id"],
            display=from_json(ItemTable, exec_properties["items"]).display,
            map_feature=config.map_feature,
            settings=json.loads(exec_properties["settings"]),
            # An empty text can be missing: an orchestrator hands it on as None.
            parameters={name: exec_properties.get(name) for name in RUN_PARAMETERS},
        )
        scalars = write_report(
            facts,
            config,
            ReportFiles(
                page=get_file_path(output_dict, "page", REPORT_PAGE_FILE),
                markdown=get_file_path(output_dict, "markdown", REPORT_MARKDOWN_FILE),
                scalars=get_path(output_dict, "scalars") / REPORT_SCALARS_FILE,
            ),
        )
        [artifact] = output_dict["scalars"]
        for name, value in scalars.items():
            artifact.set_float_custom_property(name, value)
