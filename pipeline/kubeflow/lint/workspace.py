"""Checks the workspace of a run: a volume that is made for it and that its tasks share."""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter, list_texts
from pipeline.kubeflow.lint.finding import join, show, suggest
from pipeline.kubeflow.lint.placeholders import WORKSPACE_PATH
from pipeline.kubeflow.lint.quantities import read_quantity

_PATH: Final = "platforms.kubernetes.pipelineConfig.workspace"
# The driver mounts the workspace for a constant with either of these.
_USES: Final = (WORKSPACE_PATH, "/kfp-workspace")
_PATCHED: Final = ("accessModes", "storageClassName")


class WorkspaceLinter(Linter):
    """Checks the workspace and who uses it."""

    def check(self, pipeline: Mapping[str, Any], kubernetes: Mapping[str, Any]) -> None:
        """Check both documents.

        Args:
            pipeline: The pipeline document, as plain data.
            kubernetes: The settings for Kubernetes, as plain data.
        """
        workspace = kubernetes.get("pipelineConfig", {}).get("workspace")
        if workspace is not None:
            self._check_workspace(workspace)
            return
        for path, text in list_texts(pipeline, ""):
            if ".runtimeValue." in path and any(use in text for use in _USES):
                self.add(
                    path,
                    "the driver mounts the run's workspace for this value, and there is none; the pod never"
                    " starts",
                    f"Write {_PATH} with a size, or another path",
                )

    def _check_workspace(self, workspace: Mapping[str, Any]) -> None:
        if "kubernetes" not in workspace:
            self.add(
                _PATH,
                "no kubernetes in it, and KFP makes no volume; the tasks that use it never start",
                "Write kubernetes: {}",
            )
            return
        amount = read_quantity(workspace.get("size", ""))
        if amount is None or amount < 0:
            self.add(
                f"{_PATH}.size",
                f"not an amount that Kubernetes reads: {show(workspace.get('size'))}; KFP refuses the run"
                " when it is created",
                "Write an amount such as 10Gi",
            )
        for key, value in workspace["kubernetes"].get("pvcSpecPatch", {}).items():
            inner = join(f"{_PATH}.kubernetes.pvcSpecPatch", key)
            if key not in _PATCHED:
                self.add(
                    inner,
                    f"unknown key {key!r} ('unknown fields in PVC spec patch'); KFP refuses the run when it"
                    " is created",
                    suggest(key, _PATCHED, "known here:"),
                )
            elif value == "":
                self.add(
                    inner, "empty; KFP refuses the run when it is created", "Name a class, or leave it out"
                )
