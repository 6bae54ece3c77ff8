"""Features of users and items that say what is held out."""

import numpy as np
import pyarrow as pa

from components.interaction_ingest.ordering import owners
from pipeline.data_check.reading import CheckedLog
from pipeline.first_look.entities import EntityUse
from pipeline.first_look.exclusion import find_leak
from pipeline.first_look.profiles import profile_column
from pipeline.first_look.roles import SIDES
from schemas.features import FeatureSpec


def find_leaks(log: CheckedLog, spec: FeatureSpec) -> dict[str, str]:
    """Look for features that go with the interactions, those that are held out among them.

    Args:
        log: The interactions and the tables.
        spec: The features.

    Returns:
        The reason by the name of the feature.
    """
    sequences = log.sequences
    users = owners(sequences.offsets)
    seconds = sequences.columns.column(spec.timestamp).to_numpy().astype(np.float64)
    ids = {"user": sequences.user_ids, "item": sequences.item_ids}
    codes = {"user": users, "item": sequences.items.astype(np.int64)}
    tables = {"user": log.inputs.users.table, "item": log.inputs.items.table}
    id_features = {"user": spec.user_id, "item": spec.item_id}
    found: dict[str, str] = {}
    for side in SIDES:
        other = "item" if side == "user" else "user"
        table = tables[side]
        if not len(table):
            # There is none; the ids are those of the interactions.
            continue
        keys = table.column(id_features[side].name).combine_chunks()
        use = EntityUse.measure(side, keys, ids[side], codes[side], codes[other], seconds)
        partners = ids[other].to_pylist()
        for feature in spec.tower_features(side):
            # Context features stand in no table; of lists none is looked at.
            if feature.name not in table.column_names or feature.role is not None or feature.is_list:
                continue
            values = pa.chunked_array([table.column(feature.name).combine_chunks()])
            reason = find_leak(profile_column(feature.name, values), use, partners)
            if reason is not None:
                found[feature.name] = reason
    return found
