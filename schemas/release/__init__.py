"""A release: towers, indexes and more under one version number, joined by a manifest written last.

    <serving>/user_tower/<version>/               SavedModel
    <serving>/item_tower/<version>/               SavedModel
    <serving>/retriever/<version>/                SavedModel: the user tower and a search of the catalogue
    <serving>/index/<version>/                    candidate index
    <serving>/ann/<version>/                      approximate index
    <serving>/users/<version>/                    the users' sequences, where they are released
    <serving>/state/<version>/                    what the next run compares with and starts from; no server
                                                  needs it
    <serving>/releases/<version>/manifest.json    written last: without it there is no release
    <serving>/releases/current.json               which release is current, after a rollback
    <serving>/releases/refused.json               what was refused last
    <serving>/models.config                       what TensorFlow Serving is to load

A reader that goes through the manifest sees a release whole or not at all. The serving directory is on this
machine or in an object store, from which the parts are copied before they are used.
"""

from schemas.release.current import (
    Rollback,
    find_current_release,
    find_current_state,
    find_current_version,
    follow_current,
    read_rollback,
    require_current_version,
)
from schemas.release.fetch import Release, copy_state, read_current_release, read_release
from schemas.release.find import (
    ReleasedState,
    find_newest_version,
    find_release,
    find_state,
    list_file_sizes,
    list_published,
    list_versions,
    read_manifest,
    read_part_id,
)
from schemas.release.hashing import combine_hashes, hash_files, hash_folder
from schemas.release.lease import Lease, take_lease
from schemas.release.locking import hold_lock
from schemas.release.manifest import (
    ALL_PARTS,
    PARTS,
    REQUIRED_PARTS,
    Manifest,
    PublishedRelease,
    ReleasedPart,
    TrainedOn,
    WarmStarted,
    WarmStartedTable,
    count_warm_starts,
)
from schemas.release.models_config import (
    SERVABLES,
    compose_models_config,
    list_served_versions,
    update_models_config,
    write_models_config,
)
from schemas.release.refusal import (
    Refusal,
    RefusedModel,
    find_standing_refusal,
    read_refusal,
    write_refusal,
)
from schemas.release.retention import Pruned, find_needed, prune, remove_parts, remove_remote_parts
from schemas.release.rollback import roll_back
from schemas.release.verify import Check, HashCache, read_state_file, verify_files, verify_release

__all__ = [
    "ALL_PARTS",
    "PARTS",
    "REQUIRED_PARTS",
    "SERVABLES",
    "Check",
    "HashCache",
    "Lease",
    "Manifest",
    "Pruned",
    "PublishedRelease",
    "Refusal",
    "RefusedModel",
    "Release",
    "ReleasedPart",
    "ReleasedState",
    "Rollback",
    "TrainedOn",
    "WarmStarted",
    "WarmStartedTable",
    "combine_hashes",
    "compose_models_config",
    "copy_state",
    "count_warm_starts",
    "find_current_release",
    "find_current_state",
    "find_current_version",
    "find_needed",
    "find_newest_version",
    "find_release",
    "find_standing_refusal",
    "find_state",
    "follow_current",
    "hash_files",
    "hash_folder",
    "hold_lock",
    "list_file_sizes",
    "list_published",
    "list_served_versions",
    "list_versions",
    "prune",
    "read_current_release",
    "read_manifest",
    "read_part_id",
    "read_refusal",
    "read_release",
    "read_rollback",
    "read_state_file",
    "remove_parts",
    "remove_remote_parts",
    "require_current_version",
    "roll_back",
    "take_lease",
    "update_models_config",
    "verify_files",
    "verify_release",
    "write_models_config",
    "write_refusal",
]
