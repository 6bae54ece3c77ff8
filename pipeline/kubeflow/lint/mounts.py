"""Checks the volumes that the platform document of a compiled pipeline mounts."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pipeline.kubeflow.lint.document import Linter
from pipeline.kubeflow.lint.finding import show
from pipeline.kubeflow.lint.quantities import read_quantity

VOLUME_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
ACCESS_MODES: Final = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
# KFP mounts its launcher and the places of the artifacts here, and Kubernetes keeps one mount per path.
OWN_MOUNTS: Final = ("/kfp-launcher", "/gcs", "/s3", "/minio")


@dataclass(frozen=True)
class _Mount:
    path: str
    mount_path: str
    has_name: bool
    name: str
    """Nothing for a name that a run gives."""


class MountLinter(Linter):
    """Checks the volumes of one executor."""

    def check(self, path: str, config: Any) -> None:
        """Check the KubernetesExecutorConfig at `path`."""
        self._check_sizes(path, config)
        for index, volume in enumerate(config.generic_ephemeral_volume):
            self._check_access_modes(f"{path}.genericEphemeralVolume[{index}].accessModes", volume)
        seen: set[str] = set()
        for mount in _list_mounts(path, config):
            self._check_name(mount)
            self._check_mount_path(f"{mount.path}.mountPath", mount.mount_path, seen)
            seen.add(mount.mount_path)

    def _check_sizes(self, path: str, config: Any) -> None:
        for kind, volumes, key in (
            (
                "emptyDirMounts",
                [(volume.size_limit, False) for volume in config.empty_dir_mounts],
                "sizeLimit",
            ),
            (
                "genericEphemeralVolume",
                [(volume.size, True) for volume in config.generic_ephemeral_volume],
                "size",
            ),
        ):
            for index, (size, is_required) in enumerate(volumes):
                if (size or is_required) and read_quantity(size) is None:
                    self.add(
                        f"{path}.{kind}[{index}].{key}",
                        f"not an amount that Kubernetes reads: {size!r}; the task fails when it starts",
                        "Write an amount such as 10Gi",
                    )

    def _check_access_modes(self, path: str, volume: Any) -> None:
        for position, mode in enumerate(volume.access_modes):
            if mode not in ACCESS_MODES:
                self.add(
                    f"{path}[{position}]",
                    f"expected {', '.join(ACCESS_MODES)}. Received: {show(mode)}; KFP writes an empty mode,"
                    " and the pod is refused",
                    "Correct the mode",
                )

    def _check_name(self, mount: _Mount) -> None:
        if not mount.has_name:
            self.add(mount.path, "the volume has no name; the task fails when it starts", "Name it")
        elif mount.name and not VOLUME_NAME.fullmatch(mount.name):
            self.add(
                mount.path,
                f"KFP names the pod's volume {mount.name!r}: expected at most 63 lower-case letters, digits"
                " and '-', with a letter or digit at both ends; the pod is refused",
                "Rename it",
            )

    def _check_mount_path(self, path: str, mount_path: str, seen: set[str]) -> None:
        if not mount_path.startswith("/") or ":" in mount_path:
            self.add(
                path,
                f"expected an absolute path without ':'. Received: {mount_path!r}; the pod is refused",
                "Correct the path",
            )
        elif mount_path in seen:
            self.add(path, f"{mount_path} is mounted twice; the pod is refused", "Remove one")
        elif posixpath.normpath(mount_path) in OWN_MOUNTS:
            self.add(
                path,
                f"{mount_path} is where KFP mounts a volume of its own, which this one replaces; the task"
                " fails, or its artifacts go astray",
                "Mount it elsewhere",
            )


def _list_mounts(path: str, config: Any) -> Iterator[_Mount]:
    for kind, entries, name_field in (
        ("secretAsVolume", config.secret_as_volume, "secret_name"),
        ("configMapAsVolume", config.config_map_as_volume, "config_map_name"),
    ):
        for index, entry in enumerate(entries):
            is_given = entry.HasField(f"{name_field}_parameter")
            name = "" if is_given else getattr(entry, name_field)
            yield _Mount(f"{path}.{kind}[{index}]", entry.mount_path, is_given or bool(name), name)
    for index, entry in enumerate(config.pvc_mount):
        has_name = entry.WhichOneof("pvc_reference") is not None or entry.HasField("pvc_name_parameter")
        yield _Mount(f"{path}.pvcMount[{index}]", entry.mount_path, has_name, _find_claim(entry))
    for kind, entries in (
        ("emptyDirMounts", config.empty_dir_mounts),
        ("genericEphemeralVolume", config.generic_ephemeral_volume),
    ):
        for index, entry in enumerate(entries):
            name = entry.volume_name
            yield _Mount(f"{path}.{kind}[{index}]", entry.mount_path, bool(name), name)


def _find_claim(mount: Any) -> str:
    if mount.HasField("pvc_name_parameter"):
        name = mount.pvc_name_parameter.runtime_value.constant.string_value
        return "" if "{{$" in name else name
    return mount.constant
