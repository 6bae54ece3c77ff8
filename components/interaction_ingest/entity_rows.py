"""Rows of the user and item tables for some ids."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import Feature, FeatureSpec


def entity_rows(table: pa.Table, ids: pa.Array, features: Sequence[Feature]) -> pa.Table:
    """Look entities up.

    Args:
        table: A cleaned user or item table.
        ids: [rows] string.
        features: The table's features, the id among them, each with a default if an id is not in the table.

    Returns:
        [rows] the features, with their defaults for an id that is not in the table.
    """
    [id_feature] = [feature for feature in features if feature.role is not None]
    places = pc.index_in(ids, value_set=table.column(id_feature.name).combine_chunks())
    columns = {}
    for feature in features:
        if feature.role is not None:
            columns[feature.name] = ids
            continue
        values = table.column(feature.name).combine_chunks()
        if places.null_count:
            values = pa.concat_arrays([values, pa.array([feature.default_value], values.type)])
        columns[feature.name] = values.take(places.fill_null(len(table)))
    return pa.table(columns)


def build_catalogue(
    items: pa.Table, spec: FeatureSpec, unknown_items: Iterable[str], missing_metadata: str
) -> pa.Table:
    """List every item once.

    Args:
        items: The cleaned item table.
        spec: The features.
        unknown_items: Ids of items that occur in interactions only.
        missing_metadata: With `default`, those follow in the order of their ids, with the features' defaults.

    Returns:
        The item features, in the item table's order.
    """
    unknown = sorted(unknown_items)
    if missing_metadata != "default" or not unknown:
        return items
    ids = pa.concat_arrays([items.column(spec.item_id.name).combine_chunks(), pa.array(unknown, pa.string())])
    return entity_rows(items, ids, spec.table_features("item"))
