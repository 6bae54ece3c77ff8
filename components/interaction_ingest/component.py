"""The TFX adapter of InteractionIngest."""

import dataclasses
from typing import ClassVar

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue, DeadLetters, Report, Sequences
from components.interaction_ingest.config import IngestConfig, WindowConfig
from components.interaction_ingest.executor import InteractionIngestExecutor
from schemas.features import FeatureSpec
from schemas.strict_config import to_json, to_short_json


def _window_limits(config: IngestConfig) -> WindowConfig | None:
    limits = WindowConfig()
    if config.window is not None:
        limits = WindowConfig(maximum_missing_days=config.window.maximum_missing_days)
    return None if limits == WindowConfig() else limits


class InteractionIngestSpec(ComponentSpec):
    """Parameters and outputs of InteractionIngest."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "feature_spec": ExecutionParameter(type=str),
        "ingest_config": ExecutionParameter(type=str),
        "data_directory": ExecutionParameter(type=str),
        "window_from": ExecutionParameter(type=str),
        "window_to": ExecutionParameter(type=str),
        "window_last_days": ExecutionParameter(type=int),
        "input_fingerprint": ExecutionParameter(type=str),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "sequences": ChannelParameter(type=Sequences),
        "users": ChannelParameter(type=standard_artifacts.Examples),
        "items": ChannelParameter(type=standard_artifacts.Examples),
        "contexts": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "catalogue": ChannelParameter(type=Catalogue),
        "report": ChannelParameter(type=Report),
        "dead_letters": ChannelParameter(type=DeadLetters),
    }


class InteractionIngest(BaseBeamComponent):
    """Makes the sequences of the users of the interactions, and the examples of users and items.

    Outputs: `sequences` with a row for each user; `users` and `items` with an example each and the number of
    its train and validation rows, of one split, `all`; `contexts`, only for a schema file with context
    features, with these of each row of train, eval and, where the configuration asks for it, validation;
    `catalogue` with every item once; `report` with the rows read, kept and dropped by reason; and
    `dead_letters` with the malformed rows. Each has the custom properties `window_from` and `window_to`,
    the days that were read ('' for no limit), `missing_days`, `input_files` and `input_fingerprint`.
    """

    SPEC_CLASS = InteractionIngestSpec
    EXECUTOR_SPEC = BeamExecutorSpec(InteractionIngestExecutor)

    def __init__(
        self,
        feature_spec: FeatureSpec,
        config: IngestConfig,
        data_directory: str | RuntimeParameter,
        window_from: str | RuntimeParameter = "",
        window_to: str | RuntimeParameter = "",
        window_last_days: int | RuntimeParameter = 0,
        input_fingerprint: str | RuntimeParameter = "",
        code_fingerprint: str = "",
    ) -> None:
        """Declare the step.

        Args:
            feature_spec: The features and the tables' file names; of the item table nothing is read but
                features.
            config: The positive rule, the split, and what to do about missing metadata. Its window is
                not read, but for its limits: each run is given its own days.
            data_directory: The folder of the tables: a path or URI.
            window_from: First day to read, such as 2026-11-01; '' for no limit.
            window_to: Last day to read; '' for no limit.
            window_last_days: Number of days to read up to that of the newest interaction; 0 for all.
            input_fingerprint: What `fingerprint_inputs` gives, so that TFX's cache sees changed data; ''
                where the step always executes, which then computes it for the record.
            code_fingerprint: Hash of the code, so that TFX's cache sees a changed version.
        """
        contexts = {}
        if feature_spec.table_features("context"):
            contexts["contexts"] = Channel(type=standard_artifacts.Examples)
        super().__init__(
            spec=InteractionIngestSpec(
                feature_spec=to_short_json(feature_spec),
                ingest_config=to_json(dataclasses.replace(config, window=_window_limits(config))),
                data_directory=data_directory,
                window_from=window_from,
                window_to=window_to,
                window_last_days=window_last_days,
                input_fingerprint=input_fingerprint,
                code_fingerprint=code_fingerprint,
                sequences=Channel(type=Sequences),
                users=Channel(type=standard_artifacts.Examples),
                items=Channel(type=standard_artifacts.Examples),
                **contexts,
                catalogue=Channel(type=Catalogue),
                report=Channel(type=Report),
                dead_letters=Channel(type=DeadLetters),
            )
        )
