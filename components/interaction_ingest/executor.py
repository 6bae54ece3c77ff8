"""The executor of InteractionIngest."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from components.execution import Artifacts, PlainBeamExecutor, get_path
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.outputs import IngestOutputs, split_names
from components.interaction_ingest.report import summarize
from components.interaction_ingest.run import run_ingest
from components.interaction_ingest.window import parse_window
from schemas.contract import ENTITY_SPLIT, PROGRESS_LOGGER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json

_FILES_IN_PROPERTY: Final = 100
# By them TFX's readers of examples know what the files hold.
_EXAMPLES_PROPERTIES: Final = {"payload_format": "FORMAT_TF_EXAMPLE", "file_format": "tfrecords_gzip"}


class InteractionIngestExecutor(PlainBeamExecutor):
    """Unpacks artifacts and properties for `run_ingest`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Run the ingest.

        Args:
            input_dict: Empty.
            output_dict: One artifact each under the names of InteractionIngestSpec's outputs, `contexts` only
                for a schema file with context features.
            exec_properties: As InteractionIngestSpec declares them.

        Raises:
            ConfigError: The configuration does not fit the schema file, or the window is none.
            DataError: The data cannot be used.
            StorageError: The tables' store cannot be reached or refuses.
        """
        config = from_json(IngestConfig, exec_properties["ingest_config"])
        window = parse_window(
            # An orchestrator can hand an empty text on as None.
            exec_properties["window_from"] or "",
            exec_properties["window_to"] or "",
            exec_properties["window_last_days"] or 0,
            config.window,
        )
        report = run_ingest(
            self.make_beam_pipeline,
            from_json(FeatureSpec, exec_properties["feature_spec"]),
            config,
            exec_properties["data_directory"],
            IngestOutputs(**{name: get_path(output_dict, name) for name in output_dict}),
            window=window,
            input_fingerprint=exec_properties["input_fingerprint"] or "",
        )
        for name, splits in (
            ("users", [ENTITY_SPLIT]),
            ("items", [ENTITY_SPLIT]),
            ("contexts", split_names(config)),
        ):
            for examples in output_dict.get(name, []):
                examples.split_names = json.dumps(splits)
                for key, value in _EXAMPLES_PROPERTIES.items():
                    examples.set_string_custom_property(key, value)
        for [artifact] in output_dict.values():
            for name in ("window_from", "window_to", "input_fingerprint"):
                artifact.set_string_custom_property(name, report[name])
            artifact.set_string_custom_property("missing_days", ", ".join(report["missing_days"]))
            artifact.set_string_custom_property("input_files", _shorten(report["files"]))
        logging.getLogger(PROGRESS_LOGGER).info(summarize(report))


def _shorten(files: dict[str, list[str]]) -> str:
    names = [name for of_table in files.values() for name in of_table]
    if len(names) > _FILES_IN_PROPERTY:
        names[_FILES_IN_PROPERTY:] = [f"and {len(names) - _FILES_IN_PROPERTY:,} more, see the report"]
    return ", ".join(names)
