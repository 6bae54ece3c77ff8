"""The pipeline's configuration: one YAML file, checked whole before anything runs."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from components.ann_index.config import AnnConfig
from components.anomaly_gate.config import GateConfig
from components.candidate_indexer.config import RetrieverConfig, check_retriever
from components.interaction_ingest.config import IngestConfig
from components.retrieval_evaluator.config import EvaluationConfig
from components.run_report.config import ReportConfig
from pipeline.credentials import find_credential_options
from pipeline.kubeflow.config import KubeflowConfig
from pipeline.retraining.config import RetrainingConfig
from schemas.defaults import add_defaults, choose_defaults
from schemas.errors import ConfigError
from schemas.features import FeatureSpec, load_feature_spec
from schemas.strict_config import STRICT, parse, to_json
from schemas.yaml_files import load_yaml, locate, parse_yaml
from trainer.config import (
    LossConfig,
    ModelConfig,
    TrainerConfig,
    TrainingConfig,
    check_negatives,
    check_windows,
)
from trainer.window_length import choose_window_length

_RELEASE_CACHE: Final = "release-cache"


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """What a run is called and where it keeps its files."""

    name: str
    """Name of the pipeline in ML Metadata."""
    directory: str
    """Folder of the artifacts, the metadata database, the checkpoints and the logs."""
    steps_side_by_side: Annotated[int, Field(ge=1)] = 2
    """The most steps that `dssm run` runs at the same time, such as the Transforms of users and of items; 1:
    one after the other, which needs less memory."""

    @property
    def release_cache(self) -> Path:
        """Folder where copies of releases from an object store are kept."""
        return Path(self.directory) / _RELEASE_CACHE


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Where the data are."""

    schema: str
    """The schema file: a path, or the name of one shipped in schemas/."""
    directory: str
    """Folder of the tables that the schema file names."""


@dataclass(frozen=True, config=STRICT)
class BeamConfig:
    """How the Beam steps run."""

    options: tuple[str, ...] = ("--runner=FnApiRunner",)
    """Beam pipeline options. DirectRunner would first try to download another runner."""

    @model_validator(mode="after")
    def _check(self) -> "BeamConfig":
        secrets = find_credential_options(self.options)
        if secrets:
            raise ValueError(
                f"{', '.join(secrets)} would be readable in the run's metadata and in a compiled pipeline."
                " Leave it out, and set the environment variable that the library reads"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class ServingConfig:
    """Where releases go."""

    directory: str
    """Folder with user_tower/, item_tower/, retriever/, index/, ann/, users/, state/ and releases/."""
    users: Literal["snapshot", "none"] = "snapshot"
    """Whether a release holds what is known of the users, their features and sequences, so that a server
    recommends to a known user by id alone: `snapshot` or `none`."""


@dataclass(frozen=True, config=STRICT)
class PipelineConfig:
    """Everything that `dssm run` needs."""

    run: RunConfig
    """What the run is called and where it keeps its files."""
    data: DataConfig
    """Where the data are."""
    serving: ServingConfig
    """Where releases go."""
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    """How interactions become sequences of positives."""
    gate: GateConfig = Field(default_factory=GateConfig)
    """What stops the run before anything is trained, besides anomalies."""
    beam: BeamConfig = Field(default_factory=BeamConfig)
    """How the Beam steps run."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The two towers."""
    loss: LossConfig = Field(default_factory=LossConfig)
    """The loss."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """The training."""
    ann: AnnConfig = Field(default_factory=AnnConfig)
    """The approximate index beside the exact one."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """How the model is judged."""
    retriever: RetrieverConfig = Field(default_factory=RetrieverConfig)
    """The servable of every release that answers a whole recommendation."""
    report: ReportConfig = Field(default_factory=ReportConfig)
    """What the run's report draws."""
    kubeflow: KubeflowConfig = Field(default_factory=KubeflowConfig)
    """How the pipeline runs on Kubeflow Pipelines; `dssm run` reads none of it."""
    retraining: RetrainingConfig = Field(default_factory=RetrainingConfig)
    """Retraining without an operator; `dssm run` reads none of it."""

    @model_validator(mode="after")
    def _check(self) -> "PipelineConfig":
        check_negatives(self.loss, self.training)
        check_windows(self.model, self.training)
        if self.training.early_stopping is not None and not self.ingest.validation:
            raise ValueError(
                "training.early_stopping: expected ingest.validation: true, the split that it looks at."
                " Received: false. Set it, or leave early_stopping out"
            )
        return self

    @property
    def trainer(self) -> TrainerConfig:
        """The sections that the Trainer is given."""
        return TrainerConfig(
            model=self.model,
            loss=self.loss,
            training=self.training,
            candidates=self.evaluation.candidates,
            split=json.loads(to_json(self.ingest.split)),
        )

    def find_left_out_history(self, features: FeatureSpec) -> str:
        """Find the history whose items are not recommended again.

        Args:
            features: The features.

        Returns:
            The user tower's input with their ids; '' where there is none, or they may be.
        """
        if features.history is None or self.evaluation.candidates == "all":
            return ""
        return features.history.name

    def load_features(self) -> FeatureSpec:
        """Read the schema file that `data.schema` names.

        Returns:
            The features; under `ingest.missing_metadata: default` with those of `choose_defaults`.

        Raises:
            ConfigError: The file is missing or wrong.
        """
        spec = load_feature_spec(self.data.schema)
        if not spec.tower_features("user") and not self.model.history_encoders:
            raise ConfigError(
                f"model.history_encoders: {self.data.schema} gives the user tower nothing but a history."
                " Expected at least one encoder. Received: none."
            )
        choose_window_length(self.training, spec)
        self._check_map_feature(spec)
        check_retriever(self.retriever, spec)
        tables = (spec.tables.interactions, spec.tables.users, spec.tables.items)
        if any(table is not None and table.columns for table in tables):
            # Takes a second to import, which most commands do not need.
            from components.interaction_ingest.reading.inputs import check_mapped_names

            check_mapped_names(spec, self.ingest)
        return add_defaults(spec, self._choose_defaults(spec))

    def choose_defaults(self) -> dict[str, str | int | float]:
        """Choose what stands in for missing metadata where the schema file does not say.

        Returns:
            Defaults by feature; none unless `ingest.missing_metadata` is `default`.

        Raises:
            ConfigError: The schema file is missing or wrong.
        """
        return self._choose_defaults(load_feature_spec(self.data.schema))

    def _choose_defaults(self, spec: FeatureSpec) -> dict[str, str | int | float]:
        return choose_defaults(spec) if self.ingest.missing_metadata == "default" else {}

    def _check_map_feature(self, spec: FeatureSpec) -> None:
        # The report is the last step of a run: too late to learn it.
        shown = [*(feature.name for feature in spec.table_features("item")), *spec.tables.display]
        if self.report.map_feature is not None and self.report.map_feature not in shown:
            raise ConfigError(
                f"report.map_feature: expected an item feature or a column of tables.items.display of "
                f"{self.data.schema}, one of {', '.join(dict.fromkeys(shown))}. Received: "
                f"{self.report.map_feature!r}."
            )


def load_config(path: str, overrides: tuple[str, ...] = ()) -> PipelineConfig:
    """Read a configuration file and apply `--set` overrides to it.

    Args:
        path: A YAML file, from the working directory or shipped with the package.
        overrides: Texts of the form `section.key=value`, the value in YAML.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: The file or an override is wrong; the message names the key and the nearest known one.
    """
    data = load_yaml(locate(path))
    for override in overrides:
        _apply_override(data, override)
    return parse(PipelineConfig, data, source=" ".join([path, *(f"--set {text}" for text in overrides)]))


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    *sections, last = (part.strip() for part in key.split("."))
    if not separator or not all((*sections, last)):
        raise ConfigError(f"--set: expected section.key=value. Received: {override!r}.")
    target = data
    for section in sections:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section!r} is a value, not a section; set it as a whole.")
    try:
        target[last] = parse_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"--set {override}: {error}") from error.__cause__
