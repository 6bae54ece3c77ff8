"""What a person, or a program, reads about releases."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tabulate import tabulate

from schemas import storage
from schemas.contract import EVALUATION_REPORT_FILE, MODELS_CONFIG_FILE
from schemas.errors import DssmError, ReleaseError
from schemas.ranking.metrics import show_metric
from schemas.release import (
    Check,
    Manifest,
    Pruned,
    Refusal,
    Rollback,
    find_current_version,
    find_release,
    find_standing_refusal,
    find_state,
    list_published,
    list_served_versions,
    read_manifest,
    read_rollback,
    read_state_file,
    verify_release,
)

_MIB: Final = 2**20
_CHECKS: Final[Mapping[Check, str]] = {
    "hashes": "as pushed, byte for byte",
    "folder hash": "as pushed, byte for byte",
    "sizes": "names and sizes as pushed; an earlier version of this program kept no hashes",
}


@dataclass(frozen=True)
class ListedRelease:
    """A release as the list shows it."""

    version: int
    """Its version number."""
    is_current: bool
    """Whether readers use it."""
    manifest: Manifest | None
    """What it is; None where that cannot be read."""
    problem: str | None
    """Why it cannot."""


@dataclass(frozen=True)
class ReleaseList:
    """The releases of a serving directory."""

    releases: tuple[ListedRelease, ...]
    """The newest first."""
    rollback: Rollback | None
    """What makes an older one current; None where the newest is."""
    refusal: Refusal | None
    """What was refused since the newest release; None where nothing was, or that cannot be told."""
    problem: str | None
    """Why it cannot."""
    metric: str | None
    """The metric that decides on a blessing; None where no release says it."""


def read_releases(serving_directory: str) -> ReleaseList:
    """Read what the releases of a serving directory are, none of their parts.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The releases; one whose manifest cannot be read says so.

    Raises:
        ReleaseError: What says which release is current cannot be read.
        StorageError: The folder's store cannot be reached or refuses.
    """
    current = find_current_version(serving_directory)
    releases = []
    for version in reversed(list_published(serving_directory)):
        try:
            manifest, problem = read_manifest(serving_directory, version), None
        except DssmError as error:
            manifest, problem = None, str(error)
        releases.append(ListedRelease(version, version == current, manifest, problem))
    refusal, unread = None, None
    try:
        refusal = find_standing_refusal(serving_directory, releases[0].manifest if releases else None)
    except ReleaseError as error:
        unread = str(error)
    is_rolled_back = bool(releases) and current != releases[0].version
    return ReleaseList(
        releases=tuple(releases),
        rollback=read_rollback(serving_directory) if is_rolled_back else None,
        refusal=refusal,
        problem=unread,
        metric=_find_deciding_metric(serving_directory, releases),
    )


def render_releases(found: ReleaseList) -> str:
    """Render releases as a table.

    Args:
        found: What `read_releases` returned.

    Returns:
        A line a release, why an older one is current where it is, and the last model where it was refused.
    """
    refused = [] if found.problem is None else [f"Unreadable: {found.problem}"]
    if found.refusal is not None:
        when = found.refusal.refused.isoformat()
        refused.append(f"Refused at {when}, of run {found.refusal.run_id}: {found.refusal.reason}")
    if not found.releases:
        return "\n".join(["No releases.", *refused])
    metric = found.metric
    rows = [
        (
            f"{release.version}{' *' if release.is_current else '  '}",
            *_row(release.manifest, metric),
        )
        for release in found.releases
    ]
    table = tabulate(
        rows,
        headers=[
            "release  ",
            "created (UTC)",
            "model",
            show_metric(metric) if metric else "metric",
            "warm start from",
            "MiB",
        ],
        disable_numparse=True,
        colalign=["right", "left", "left", "right", "right", "right"],
    )
    notes = [f"Unreadable: {release.problem}" for release in found.releases if release.problem is not None]
    return "\n".join([table, f"* current{_explain(found.rollback)}", *refused, *notes])


def releases_to_json(found: ReleaseList) -> str:
    """Render releases as JSON.

    Args:
        found: What `read_releases` returned.

    Returns:
        An object with the list, the rollback, the refusal and the deciding metric.
    """
    document = {
        "releases": [
            {
                "version": release.version,
                "current": release.is_current,
                "problem": release.problem,
                **({} if release.manifest is None else _summarise(release.manifest)),
            }
            for release in found.releases
        ],
        "rollback": None if found.rollback is None else dataclasses.asdict(found.rollback),
        "refusal": None if found.refusal is None else _tell_refusal(found.refusal),
        "problem": found.problem,
        "metric": found.metric,
    }
    return json.dumps(document, indent=2)


def render_release(serving_directory: str, version: int) -> str:
    """Say what a release is and where it came from.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release.

    Returns:
        A line a fact, and a table of its parts.

    Raises:
        DssmError: There is no such release, or it cannot be read.
    """
    manifest = read_manifest(serving_directory, version)
    is_current = find_current_version(serving_directory) == version
    base, trained = manifest.warm_start, manifest.trained_on
    facts = {
        "release": f"{version}{', the current one' if is_current else ''}",
        "created": manifest.created,
        "run": manifest.run_id,
        "model": manifest.model_id,
        "items": f"{manifest.items:,}, embeddings of dim {manifest.dim}, temperature {manifest.temperature}",
        "warm start": "none" if base is None else f"from release {base.release}, model {base.model_id}",
        "schema": manifest.schema_sha256,
        "transform": manifest.transform_sha256,
    }
    if manifest.refreshed_from is not None:
        facts["refreshed from"] = (
            f"release {manifest.refreshed_from}: its towers and evaluation, an index of a newer item table"
        )
    if trained is not None:
        facts |= {
            "trained until": f"{trained.until}, on a log until {trained.log_until} (seconds since 1970)",
            "split": "; ".join(json.dumps(split) for split in trained.splits),
            "sequences": trained.fingerprints.get("sequences", "not known"),
        }
    facts |= {
        show_metric(name): f"{value:.4f}" + _beside(manifest.popularity.get(name))
        for name, value in manifest.metrics.items()
    }
    parts = [
        (part, f"{len(released.files):,}", _show_mib(sum(released.files.values())), released.path)
        for part, released in manifest.parts.items()
    ]
    return "\n".join(
        [
            tabulate(facts.items(), tablefmt="plain", disable_numparse=True),
            "",
            tabulate(
                parts,
                headers=["part", "files", "MiB", "folder"],
                disable_numparse=True,
                colalign=["left", "right", "right", "left"],
            ),
        ]
    )


def release_to_json(serving_directory: str, version: int) -> str:
    """Give a release's manifest, and whether it is current.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release.

    Returns:
        An object with the keys of the manifest, and `current`.

    Raises:
        DssmError: There is no such release, or it cannot be read.
    """
    manifest = dataclasses.asdict(read_manifest(serving_directory, version))
    return json.dumps({**manifest, "current": find_current_version(serving_directory) == version}, indent=2)


def verify(serving_directory: str, version: int) -> dict[str, Check]:
    """Read every byte of a release and compare it with its manifest.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        version: The release.

    Returns:
        What each part was compared by.

    Raises:
        DssmError: There is no such release, it is not what was pushed, or it is current and TensorFlow
            Serving is told to load another.
    """
    checks = verify_release(serving_directory, find_release(serving_directory, version).manifest)
    served = list_served_versions(serving_directory)
    if served not in ([], [version]) and find_current_version(serving_directory) == version:
        raise ReleaseError(
            f"Release {version} is whole, but TensorFlow Serving is not told of it: expected {version}, the "
            f"current one, in {storage.join(serving_directory, MODELS_CONFIG_FILE)}. Received: "
            f"{', '.join(map(str, served))}. `dssm releases rollback {version}` writes it."
        )
    return checks


def render_checks(version: int, checks: Mapping[str, Check]) -> str:
    """Say what a verification found.

    Args:
        version: The release.
        checks: What `verify` returned.

    Returns:
        A line a part.
    """
    lines = tabulate([(part, _CHECKS[check]) for part, check in checks.items()], tablefmt="plain")
    return f"Release {version} is whole:\n{lines}"


def render_pruned(pruned: Pruned, is_dry_run: bool) -> str:
    """Say what a prune did.

    Args:
        pruned: What it did.
        is_dry_run: Whether it only said what it would do.

    Returns:
        What was removed, and why the others stay.
    """
    removed = ", ".join(map(str, pruned.removed)) or "nothing"
    first = f"{'Would remove' if is_dry_run else 'Removed'}: {removed}."
    return "\n".join([first, *(f"Kept {version}: {reason}." for version, reason in pruned.kept.items())])


def _find_deciding_metric(serving_directory: str, releases: list[ListedRelease]) -> str | None:
    for release in releases:
        if release.manifest is None:
            continue
        try:
            state = find_state(serving_directory, release.version)
            if state.location is not None:
                metric = json.loads(read_state_file(state, EVALUATION_REPORT_FILE))["gate"]["metric"]
                return metric if metric in release.manifest.metrics else None
        except (DssmError, ValueError, KeyError, TypeError):
            # Only a column of the list hangs on it.
            continue
    return None


def _row(manifest: Manifest | None, metric: str | None) -> tuple[str, ...]:
    if manifest is None:
        return ("unreadable", "-", "-", "-", "-")
    base = manifest.warm_start
    return (
        manifest.created.replace("T", " ").removesuffix("+00:00"),
        manifest.model_id + _tell_refresh(manifest),
        f"{manifest.metrics[metric]:.4f}" if metric in manifest.metrics else "-",
        "-" if base is None else str(base.release),
        _show_mib(_size(manifest)),
    )


def _tell_refusal(refusal: Refusal) -> dict[str, str]:
    return {"run_id": refusal.run_id, "refused": refusal.refused.isoformat(), "reason": refusal.reason}


def _tell_refresh(manifest: Manifest) -> str:
    return "" if manifest.refreshed_from is None else f", refreshed from {manifest.refreshed_from}"


def _summarise(manifest: Manifest) -> dict[str, Any]:
    return {
        "created": manifest.created,
        "run_id": manifest.run_id,
        "model_id": manifest.model_id,
        "metrics": manifest.metrics,
        "warm_start": None if manifest.warm_start is None else manifest.warm_start.release,
        "refreshed_from": manifest.refreshed_from,
        "bytes": _size(manifest),
    }


def _size(manifest: Manifest) -> int:
    return sum(sum(part.files.values()) for part in manifest.parts.values())


def _show_mib(size: int) -> str:
    return f"{size / _MIB:,.1f}"


def _beside(popularity: float | None) -> str:
    return "" if popularity is None else f" (most popular items: {popularity:.4f})"


def _explain(rollback: Rollback | None) -> str:
    if rollback is None:
        return ""
    reason = f": {rollback.reason}" if rollback.reason else ""
    return (
        f", since {rollback.since} instead of {rollback.over}{reason}. "
        f"The next release above {rollback.over} takes over."
    )
