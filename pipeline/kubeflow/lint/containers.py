"""Checks the executors of a compiled pipeline: the containers that run its components."""

import re
from typing import Any, Final

from pipeline.kubeflow.credentials import find_credential_options
from pipeline.kubeflow.lint.finding import Finding, join
from pipeline.kubeflow.lint.importers import ImporterLinter
from pipeline.kubeflow.lint.messages import MessageLinter, Messages
from pipeline.kubeflow.lint.resources import ResourceLinter
from pipeline.kubeflow.lint.variables import VariableLinter, list_platform_variables

# The driver itself does what these stand for; no container runs.
DRIVER_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")


class ExecutorLinter(MessageLinter):
    """Checks one executor after the other."""

    def __init__(self, findings: list[Finding], messages: Messages) -> None:
        super().__init__(findings, messages)
        self._importers = ImporterLinter(findings)
        self._variables = VariableLinter(findings)
        self._resources = ResourceLinter(findings)

    def check(self, path: str, label: str, executor: Any) -> None:
        """Check the executor at `path`, whose label is `label`."""
        kind = executor.WhichOneof("spec")
        if kind == "container":
            self._check_container(f"{path}.container", label, executor.container)
        elif kind == "importer":
            self._importers.check(f"{path}.importer", executor.importer)
        else:
            self.add(
                f"{path}.{'customJob' if kind == 'custom_job' else kind}" if kind else path,
                "('non-container and non-importer executor not implemented'); KFP refuses the run when it is"
                " created",
                "Read what the resolver would find in a component of our own",
            )

    def check_shared_containers(self) -> None:
        """Check that no two interfaces stand before one container.

        The compiler stores a component's interface under the hash of its container alone.
        """
        seen: dict[str, tuple[str, Any]] = {}
        for name, component in sorted(self._messages.pipeline.components.items()):
            executor = self._messages.find_executor(name)
            if executor is None or not executor.HasField("container"):
                continue
            key = executor.container.SerializeToString(deterministic=True).hex()
            other, interface = seen.setdefault(key, (name, component))
            same = (
                interface.input_definitions == component.input_definitions
                and interface.output_definitions == component.output_definitions
            )
            if not same:
                self.add(
                    join("components", name),
                    f"its container is the same as that of {other!r}, but not its inputs and outputs; KFP"
                    " keeps one interface per container and runs one with the other's",
                    "Make the containers differ, such as by an argument",
                )

    def _check_container(self, path: str, label: str, container: Any) -> None:
        self._check_image(f"{path}.image", container.image)
        self._check_command(path, container)
        for name in find_credential_options([*container.command, *container.args]):
            self.add(
                f"{path}.args",
                f"{name} looks like a secret, and everyone who can read the pipeline can read its value",
                "Leave it out and give it to the pods as an environment variable from a Kubernetes secret",
            )
        if container.HasField("lifecycle"):
            self.add(
                f"{path}.lifecycle",
                "KFP never runs a pre-cache hook: the driver of a file-based ExampleGen would not look for"
                " new data",
                "Ingest with a component that resolves spans and fingerprints itself, uncached",
            )
        config = self._messages.settings.get(label)
        platform_names = list_platform_variables(config) if config is not None else set()
        self._variables.check_container(path, container, platform_names)
        self._resources.check(f"{path}.resources", container.resources)

    def _check_image(self, path: str, image: str) -> None:
        if not image.strip():
            self.add(path, "no image; the pod cannot start", "Set kubeflow.image in the configuration")
        elif re.search(r"\s", image):
            self.add(
                path,
                f"white space in {image!r}; the pod cannot start ('InvalidImageName')",
                "Correct the image",
            )

    def _check_command(self, path: str, container: Any) -> None:
        if container.command or container.image in DRIVER_IMAGES:
            return
        if not container.args:
            self.add(
                path,
                "neither command nor args ('command and arguments are empty'): KFP's launcher never runs the"
                " image's own entrypoint",
                "Write the command",
            )
        elif container.args[0].startswith("-"):
            self.add(
                f"{path}.args[0]",
                f"KFP's launcher runs {container.args[0]!r} as the command, because there is none, and never"
                " the image's own entrypoint; the task fails",
                "Write the command",
            )
