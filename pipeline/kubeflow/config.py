"""Settings of a pipeline compiled for Kubeflow Pipelines."""

import dataclasses
import difflib
import posixpath
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from pipeline.credentials import names_credential
from schemas.contract import RUN_ID_VARIABLE
from schemas.strict_config import STRICT

RUN_STEPS: Final = (
    "InteractionIngest", "FeatureSchema",
    "UserStatisticsGen", "ItemStatisticsGen", "ContextStatisticsGen",
    "UserExampleValidator", "ItemExampleValidator", "ContextExampleValidator", "AnomalyGate",
    "UserTransform", "ItemTransform", "ContextTransform",
    "Trainer", "CandidateIndexer", "AnnIndexer", "RetrievalEvaluator", "TowerPusher",
    "RunReport",
)  # fmt: skip
"""Every step of a run; those of contexts are there only where the schema file has context features."""

PLAN_STEP: Final = "RetrainingPlan"
"""What tells a retraining from a run."""
RETRAINING_STEPS: Final = (PLAN_STEP, "RetrainingEnd")
"""What a retraining has around a run."""

STEPS: Final = (*RUN_STEPS, *RETRAINING_STEPS)
"""Every step."""

SHARED_NAMES: Final = {
    kind: tuple(step for step in RUN_STEPS if step.endswith(kind) and step != kind)
    for kind in ("StatisticsGen", "ExampleValidator", "Transform")
}
"""Names in `kubeflow.steps` that mean several steps: those of the users, the items and the contexts."""

MEMORY_GB: Final = {
    "InteractionIngest": 3.0, "FeatureSchema": 1.0,
    "UserStatisticsGen": 2.0, "ItemStatisticsGen": 2.0, "ContextStatisticsGen": 2.0,
    "UserExampleValidator": 2.0, "ItemExampleValidator": 2.0, "ContextExampleValidator": 2.0,
    "AnomalyGate": 1.0,
    "UserTransform": 3.0, "ItemTransform": 3.0, "ContextTransform": 3.0,
    "Trainer": 6.0, "CandidateIndexer": 2.0, "AnnIndexer": 3.0, "RetrievalEvaluator": 4.0,
    "TowerPusher": 2.0, "RunReport": 2.0,
    "RetrainingPlan": 1.0, "RetrainingEnd": 1.0,
}  # fmt: skip
"""Memory of each pod in 10^9 bytes, where the configuration does not say; docs/kubeflow.md: measured."""

_ALWAYS_EXECUTED: Final = ("InteractionIngest", *RETRAINING_STEPS)
_OWN_VARIABLES: Final = ("KFP_POD_NAME", "KFP_POD_UID", "KFP_RETRY_INDEX")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _matches(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}. Received: {value!r}")
        return value

    return AfterValidator(check)


KubernetesName = Annotated[
    str,
    _matches(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Kubernetes name of lower case, digits, - and ."),
]
PipelineName = Annotated[
    str,
    _matches(
        r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?",
        "lower case, digits and -, 128 characters at most, no - at either end",
    ),
]
# KFP names the pod's volume after the claim, and a volume's name has no dots.
ClaimName = Annotated[
    str,
    _matches(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "lower case, digits and -, 63 characters at most"),
]
# KFP mounts its launcher and the places of the artifacts at these four.
MountPath = Annotated[
    str,
    _matches(
        r"/(?!/*(kfp-launcher|gcs|s3|minio)/*$)[^:]+",
        "an absolute path such as /mnt/data, and none of /kfp-launcher, /gcs, /s3 and /minio",
    ),
]
ResourceName = Annotated[
    str,
    _matches(
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?",
        "the name of a Kubernetes resource such as nvidia.com/gpu",
    ),
]
LabelValue = Annotated[
    str,
    _matches(
        r"([a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?",
        "the value of a Kubernetes label: letters, digits, -, _ and ., 63 at most",
    ),
]
NonEmpty = Annotated[str, _matches(r"\S+", "a name without spaces")]
PositiveInt = Annotated[int, Field(ge=1)]
# Kubernetes keeps it as an integer of 32 bits.
TimeoutSeconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
# Beyond these it would be written with an exponent, which Kubernetes does not read beside a unit.
MemoryGb = Annotated[float, Field(ge=0.001, lt=1e6)]


@dataclass(frozen=True, config=STRICT)
class GpuConfig:
    """The accelerators of a step."""

    count: PositiveInt
    """Accelerators per pod. For the Trainer also the replicas: `training.replicas`."""
    resource: ResourceName = "nvidia.com/gpu"
    """The Kubernetes resource name."""
    vertex_type: str = "NVIDIA_TESLA_T4"
    """Vertex AI's name of the accelerator; read by `--format vertex` only."""


@dataclass(frozen=True, config=STRICT)
class RetryConfig:
    """What happens after a pod has failed."""

    count: Annotated[int, Field(ge=0)] = 2
    """Further attempts; 0 for none."""
    backoff_seconds: PositiveInt = 30
    """Seconds before the first further attempt."""
    backoff_factor: Annotated[int, Field(ge=1, lt=1_000_000)] = 2
    """What each further wait is multiplied by; Argo knows whole numbers only."""


@dataclass(frozen=True, config=STRICT)
class SecretConfig:
    """Values of a Kubernetes secret, as environment variables. The values themselves are never compiled."""

    name: KubernetesName
    """The secret, in the namespace of the run."""
    environment: dict[str, NonEmpty]
    """Environment variable: key in the secret."""

    @field_validator("environment")
    @classmethod
    def _check_names(cls, value: dict[str, str]) -> dict[str, str]:
        if not value:
            raise ValueError("expected at least one variable and its key. Received: {}")
        _check_environment_names(value)
        return value


@dataclass(frozen=True, config=STRICT)
class VolumeConfig:
    """A mounted persistent volume claim."""

    claim: ClaimName
    """The claim, in the namespace of the run."""
    mount_path: MountPath
    """Where the pods see it; an absolute path."""


@dataclass(frozen=True, config=STRICT)
class TolerationConfig:
    """A taint of nodes that pods put up with."""

    key: str
    """The taint's key, such as nvidia.com/gpu."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Exists`: any value. `Equal`: the value below."""
    value: str = ""
    """The taint's value, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; null: each."""

    @model_validator(mode="after")
    def _check(self) -> "TolerationConfig":
        if self.operator == "Exists" and self.value:
            raise ValueError(
                f"expected no value for operator Exists. Received: {self.value!r}; write operator: Equal"
            )
        if self.operator == "Equal" and not self.key:
            raise ValueError("expected a key for operator Equal. Received: nothing")
        return self


Environment = dict[str, str]


@dataclass(frozen=True, config=STRICT)
class StepConfig:
    """What one step gets in place of, or in addition to, what all get."""

    image: NonEmpty | None = None
    """In place of kubeflow.image, such as one with CUDA."""
    cpu: Annotated[float, Field(gt=0.0)] | None = None
    """In place of kubeflow.cpu."""
    memory_gb: MemoryGb | None = None
    """In place of kubeflow.memory_gb."""
    gpu: GpuConfig | None = None
    """Accelerators; null: none."""
    timeout_seconds: TimeoutSeconds | None = None
    """In place of kubeflow.timeout_seconds."""
    retries: RetryConfig | None = None
    """In place of kubeflow.retries."""
    cache: bool | None = None
    """In place of kubeflow.cache. InteractionIngest and the steps of a retraining always execute."""
    environment: Environment = Field(default_factory=dict)
    """In addition to kubeflow.environment, whose variables it may replace."""
    secrets: tuple[SecretConfig, ...] = ()
    """In addition to kubeflow.secrets."""
    volumes: tuple[VolumeConfig, ...] = ()
    """In addition to kubeflow.volumes."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """In addition to kubeflow.node_selector, whose labels it may replace."""
    tolerations: tuple[TolerationConfig, ...] = ()
    """In addition to kubeflow.tolerations."""

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: Environment) -> Environment:
        _check_environment(value)
        return value


@dataclass(frozen=True, config=STRICT)
class KubeflowConfig:
    """How the pipeline runs on Kubeflow Pipelines; `dssm run` reads none of it."""

    image: NonEmpty | None = None
    """The container image of every step, as `make image` builds it; `dssm compile` needs it."""
    pipeline_name: PipelineName | None = None
    """The pipeline's name: lower case, digits and -. Null: run.name, other characters made -."""
    pipeline_root: str | None = None
    """Where the artifacts go, such as s3://bucket/folder. Null: what the namespace has configured."""
    data_directory: str | None = None
    """Default of the run parameter data_directory. Null: data.directory."""
    serving_directory: str | None = None
    """Default of the run parameter serving_directory. Null: serving.directory."""
    checkpoint_directory: str | None = None
    """Default of the run parameter checkpoint_directory. Null: training.checkpoint.directory, and where that
    is null too, no checkpoints."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node fetches the image."""
    image_pull_secrets: tuple[KubernetesName, ...] = ()
    """Secrets of the registry."""
    cpu: Annotated[float, Field(gt=0.0)] | None = 2.0
    """Limit, and so the request, of CPU cores per pod. Null: none."""
    memory_gb: MemoryGb | Literal["by_step"] | None = "by_step"
    """Limit, and so the request, of memory per pod, in 10^9 bytes. `by_step`: each step's own default, in
    docs/kubeflow.md with the data that it is meant for. Null: none."""
    timeout_seconds: TimeoutSeconds | None = 7200
    """Seconds after which a pod is ended. Null: never."""
    retries: RetryConfig = Field(default_factory=RetryConfig)
    """What happens after a pod has failed."""
    cache: bool = True
    """Whether a step whose inputs are the same artifacts as in an earlier run is reused.
    InteractionIngest and the steps of a retraining always execute."""
    environment: Environment = Field(default_factory=dict)
    """Environment variables. Credentials belong in kubeflow.secrets."""
    secrets: tuple[SecretConfig, ...] = ()
    """Kubernetes secrets that become environment variables."""
    volumes: tuple[VolumeConfig, ...] = ()
    """Persistent volume claims."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: tuple[TolerationConfig, ...] = ()
    """Taints of nodes that the pods put up with."""
    steps: dict[str, StepConfig] = Field(default_factory=dict)
    """What single steps get, by the name of the step, such as Trainer. StatisticsGen, ExampleValidator and
    Transform mean each step of that kind, such as UserTransform, ItemTransform and ContextTransform; what one
    of these is given under its own name goes before."""

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: Environment) -> Environment:
        _check_environment(value)
        return value

    @field_validator("steps")
    @classmethod
    def _check_steps(cls, value: dict[str, StepConfig]) -> dict[str, StepConfig]:
        names = (*STEPS, *SHARED_NAMES)
        for name in value:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ValueError(
                    f"expected steps of the pipeline: {', '.join(names)}. Received: {name!r}{hint}"
                )
        for name in _ALWAYS_EXECUTED:
            if name in value and value[name].cache:
                raise ValueError(
                    f"{name}.cache: {name} is never reused, since nothing tells Kubeflow that the data or "
                    "the releases have changed. Received: true; leave the key out"
                )
        return value

    @model_validator(mode="after")
    def _check_combined(self) -> "KubeflowConfig":
        for name in STEPS:
            settings = self.step(name)
            of_secrets = [variable for secret in settings.secrets for variable in secret.environment]
            mounts = [posixpath.normpath(volume.mount_path) for volume in settings.volumes]
            for what, values in (
                ("environment variable", [*settings.environment, *of_secrets]),
                ("mount path", mounts),
            ):
                twice = next((value for value in values if values.count(value) > 1), None)
                if twice is not None:
                    raise ValueError(
                        f"expected each {what} of a step once, in what all steps and it alone are given."
                        f" Received: {twice!r} twice for {name}"
                    )
        return self

    def step(self, name: str) -> "StepSettings":
        """Combine what all steps get with what one step gets.

        Args:
            name: One of `STEPS`.

        Returns:
            The settings of the step.
        """
        shared = next((kind for kind, steps in SHARED_NAMES.items() if name in steps), None)
        settings = StepSettings(
            image=self.image,
            cpu=self.cpu,
            memory_gb=MEMORY_GB[name] if self.memory_gb == "by_step" else self.memory_gb,
            gpu=None,
            timeout_seconds=self.timeout_seconds,
            retries=self.retries,
            cache=self.cache,
            environment=self.environment,
            secrets=self.secrets,
            volumes=self.volumes,
            node_selector=self.node_selector,
            tolerations=self.tolerations,
        )
        for own in (self.steps.get(key) for key in (shared, name) if key is not None):
            if own is not None:
                settings = settings.with_step(own)
        return settings if name not in _ALWAYS_EXECUTED else dataclasses.replace(settings, cache=False)


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Everything that one step is compiled with."""

    image: str | None
    """The container image."""
    cpu: float | None
    """Limit of CPU cores."""
    memory_gb: float | None
    """Limit of memory, in 10^9 bytes."""
    gpu: GpuConfig | None
    """Accelerators."""
    timeout_seconds: int | None
    """Seconds after which the pod is ended."""
    retries: RetryConfig
    """What happens after the pod has failed."""
    cache: bool
    """Whether the step may be reused."""
    environment: dict[str, str]
    """Environment variables."""
    secrets: tuple[SecretConfig, ...]
    """Kubernetes secrets that become environment variables."""
    volumes: tuple[VolumeConfig, ...]
    """Persistent volume claims."""
    node_selector: dict[str, str]
    """Labels that the node must have."""
    tolerations: tuple[TolerationConfig, ...]
    """Taints that the pod puts up with."""

    def with_step(self, own: StepConfig) -> "StepSettings":
        """Put what a step is given itself in the place of, or beside, what these settings say.

        Args:
            own: What the step is given.

        Returns:
            The settings of the step.
        """
        return StepSettings(
            image=own.image or self.image,
            cpu=self.cpu if own.cpu is None else own.cpu,
            memory_gb=self.memory_gb if own.memory_gb is None else own.memory_gb,
            gpu=own.gpu or self.gpu,
            timeout_seconds=self.timeout_seconds if own.timeout_seconds is None else own.timeout_seconds,
            retries=own.retries or self.retries,
            cache=self.cache if own.cache is None else own.cache,
            environment={**self.environment, **own.environment},
            secrets=self.secrets + own.secrets,
            volumes=self.volumes + own.volumes,
            node_selector={**self.node_selector, **own.node_selector},
            tolerations=self.tolerations + own.tolerations,
        )


def _check_environment(environment: Environment) -> None:
    _check_environment_names(environment)
    for name in environment:
        if names_credential(name):
            raise ValueError(
                f"{name} looks like a credential, and whatever stands here would be readable in the compiled "
                f"file. Put it into a Kubernetes secret and name that in kubeflow.secrets"
            )


def _check_environment_names(environment: Environment) -> None:
    for name in environment:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(f"expected names of environment variables. Received: {name!r}")
        if name in _OWN_VARIABLES:
            raise ValueError(f"{name} is set by Kubeflow Pipelines for its launcher; take another name")
        if name == RUN_ID_VARIABLE:
            raise ValueError(f"{name} is the run's own id, which Kubernetes fills in; leave it out")
