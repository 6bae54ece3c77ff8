"""What a person, or a program, reads of an export."""

import dataclasses
import json

from pipeline.export.export import ExportManifest


def render_export(manifest: ExportManifest, output: str) -> str:
    """Say what was exported.

    Args:
        manifest: What was written.
        output: Where.

    Returns:
        A line a fact.
    """
    lines = [
        f"Exported {manifest.items:,} of {manifest.catalogue:,} items of release {manifest.release} to "
        f"{output}, as {manifest.format}{_tell_since(manifest)}",
        f"Columns beside {manifest.item_id} and the embedding: {', '.join(manifest.columns) or 'none'}",
        f"Embeddings: {manifest.dim} dimensions at unit length, to be searched by {manifest.metric}"
        + ("" if manifest.metric == "inner product" else " (inner product)"),
    ]
    if manifest.mixes_trainings:
        lines.append(
            f"Releases {manifest.since} and {manifest.release} come from different trainings, whose "
            "embeddings cannot be compared: while this is imported, searches find the wrong items. Export "
            "without --since into a new index, and switch to it together with the user tower."
        )
    return "\n".join(lines)


def export_to_json(manifest: ExportManifest, output: str) -> str:
    """Render an export as JSON.

    Args:
        manifest: What was written.
        output: Where.

    Returns:
        An object with the keys of the manifest, and `output`.
    """
    return json.dumps({**dataclasses.asdict(manifest), "output": output}, indent=2)


def _tell_since(manifest: ExportManifest) -> str:
    if manifest.since is None:
        return ""
    return (
        f": {manifest.new:,} new and {manifest.changed:,} changed since release {manifest.since}; "
        f"{manifest.unchanged:,} unchanged, {manifest.deleted:,} to be deleted"
    )
