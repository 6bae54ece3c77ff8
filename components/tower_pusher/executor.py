"""The executor of TowerPusher."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import delete_training_checkpoints, push_if_blessed
from components.tower_pusher.skew import Samples, check_parts
from schemas.contract import RUN_ID_VARIABLE

_UNKNOWN_RUN: Final = "unknown"


class TowerPusherExecutor(PlainExecutor):
    """Pushes a release, notes it in the artifact, and deletes the checkpoints of its training."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Unpack the artifacts, push, set the output's custom properties, and delete the checkpoints.

        Args:
            input_dict: As TowerPusherSpec declares them; those of the context only where there are context
                features, and the release has no part whose artifact is not there.
            output_dict: `pushed_release`; its custom property `pushed` is 1 or 0, and with 1 `version`
                is the version number and `release` the manifest's folder, a path or URI.
            exec_properties: `serving_directory` and `run_id`.

        Raises:
            ReleaseError: The parts do not belong together or do not give what training and evaluation
                computed, or the serving directory cannot be written.
            StorageError: It is in an object store, which cannot be reached or refuses.
        """
        paths = {key: get_path(input_dict, key) for key, artifacts in input_dict.items() if artifacts}
        [pushed_release] = output_dict["pushed_release"]
        samples = Samples(model=paths["model"] / MODEL_FOLDER, report=paths["report"])
        release = push_if_blessed(
            PushInputs(
                model=paths["model"] / MODEL_FOLDER,
                index=paths["index"],
                report=paths["report"],
                ingest_report=paths["ingest_report"],
                user=_table_inputs(paths, "user"),
                item=_table_inputs(paths, "item"),
                context=_table_inputs(paths, "context") if "context_schema" in paths else None,
                ann=paths.get("ann"),
                retriever=paths.get("retriever"),
                sequences=paths.get("sequences"),
            ),
            blessing=paths["blessing"],
            serving_directory=exec_properties["serving_directory"],
            run_id=exec_properties["run_id"] or os.environ.get(RUN_ID_VARIABLE) or _UNKNOWN_RUN,
            result_directory=Path(pushed_release.uri),
            check_parts=functools.partial(check_parts, samples=samples),
        )
        pushed_release.set_int_custom_property("pushed", int(release is not None))
        if release is not None:
            pushed_release.set_int_custom_property("version", release.version)
            pushed_release.set_string_custom_property("release", release.location)
        # Also those of a model that was refused, which is kept as an artifact. After an error they are left
        # for the retry.
        delete_training_checkpoints(paths["model"] / MODEL_FOLDER)


def _table_inputs(paths: dict[str, Path], table: str) -> TableInputs:
    return TableInputs(
        schema=paths[f"{table}_schema"],
        transform_graph=paths[f"{table}_transform_graph"],
        statistics=paths[f"{table}_statistics"],
    )
