"""The catalogue as the item table has it now, beside that of a release."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.candidate_indexer.display import read_display
from components.candidate_indexer.logic import add_columns
from components.interaction_ingest.columns import to_mask
from components.interaction_ingest.config import IngestConfig
from components.interaction_ingest.counts import EXAMPLE_IDS_SHOWN, show_ids
from components.interaction_ingest.entity_rows import build_catalogue, entity_rows
from components.interaction_ingest.reading.inputs import check_items
from schemas.contract import CATALOGUE_FILE
from schemas.errors import ConfigError, DataError, ReleaseError
from schemas.features import Feature, FeatureSpec

_FEATURES_FILE: Final = "features.parquet"


@dataclass(frozen=True)
class NewCatalogue:
    """The catalogue of the item table as it is now."""

    table: pa.Table
    """[items] the id, the item features and the columns that are shown, in the order of the item table."""
    dropped: Mapping[str, int]
    """Rows of the item table left out, by reason."""
    filled: Mapping[str, int]
    """Missing values that a default stands in for, by feature."""


@dataclass(frozen=True)
class CatalogueChange:
    """How a catalogue differs from that of a release."""

    released_rows: npt.NDArray[np.int64]
    """[items] the row of each item in the release's catalogue; -1 of a new one."""
    gone: pa.Array
    """Ids of the items that only the release has."""
    differs: Mapping[str, npt.NDArray[np.bool_]]
    """By column, those that one catalogue alone has among them, [items] whether an item of both has another
    value."""

    @property
    def is_new(self) -> npt.NDArray[np.bool_]:
        """[items] whether the release lacks the item."""
        return self.released_rows < 0

    @property
    def is_empty(self) -> bool:
        """Whether the catalogues are the same but for the order."""
        return not (self.is_new.any() or len(self.gone) or any(mask.any() for mask in self.differs.values()))

    def find_changed(self, columns: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Find the items of both catalogues that differ in any of some columns.

        Args:
            columns: Their names.

        Returns:
            [items].
        """
        masks = [self.differs[name] for name in columns if name in self.differs]
        return np.logical_or.reduce([np.zeros(len(self.released_rows), bool), *masks])


def read_catalogue(
    spec: FeatureSpec, config: IngestConfig, data_directory: str, released: pa.Table, folder: Path
) -> NewCatalogue:
    """Read the item table as a run does, and write the catalogue that a run would make of it.

    The interactions are not read. With `ingest.missing_metadata: default` a run adds items that occur in
    them alone, with the features' defaults; here those stay that the release has with defaults.

    Args:
        spec: The features.
        config: What to do about missing metadata and malformed rows.
        data_directory: The folder of the item table: a path or URI.
        released: The release's catalogue.
        folder: Gets `CATALOGUE_FILE`; made if it is missing.

    Returns:
        The catalogue.

    Raises:
        ConfigError: The configuration does not fit the schema file, or that names no item table.
        DataError: The table cannot be used, or a value is none that the schema file allows.
        StorageError: The table's store cannot be reached or refuses.
    """
    source = spec.tables.items
    if source is None:
        raise ConfigError(
            "Expected an item table, whose items the index is made of. Received: a schema file that names "
            "none, so that the items are those of the interactions. Train on them: `dssm run`."
        )
    items = check_items(spec, config, data_directory)
    features = spec.table_features("item")
    refuse_anomalies(items.table, features, source.file)
    unknown = find_items_of_log(released, items.table, spec) if config.missing_metadata == "default" else []
    catalogue = build_catalogue(items.table, spec, unknown, config.missing_metadata)
    display = read_display(spec.item_id.name, source, data_directory, catalogue.column_names)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CATALOGUE_FILE
    if display is None:
        pq.write_table(catalogue, file)
    else:
        pq.write_table(catalogue, folder / _FEATURES_FILE)
        add_columns(folder / _FEATURES_FILE, file, spec.item_id.name, display)
    return NewCatalogue(pq.read_table(file), items.dropped, items.filled)


def refuse_anomalies(table: pa.Table, features: Sequence[Feature], source: str) -> None:
    """Refuse values that the schema file does not allow, and that stop a run.

    Args:
        table: [items] the features, without missing values.
        features: The item features.
        source: What messages call the table.

    Raises:
        DataError: There is such a value.
    """
    problems = []
    for feature in features:
        values = table.column(feature.name).combine_chunks()
        if feature.is_list:
            values = values.flatten()
        if feature.values is not None:
            allowed = pa.array(feature.values, values.type)
            others = pc.unique(values.filter(pc.invert(pc.is_in(values, value_set=allowed)))).to_pylist()
            if others:
                shown = show_ids(sorted(others)[:EXAMPLE_IDS_SHOWN])
                problems.append(f"{feature.name}: expected one of {list(feature.values)}. Received: {shown}")
        if feature.minimum is not None and (low := pc.min(values).as_py()) < feature.minimum:
            problems.append(f"{feature.name}: expected at least {feature.minimum}. Received: {low}")
        if feature.maximum is not None and (high := pc.max(values).as_py()) > feature.maximum:
            problems.append(f"{feature.name}: expected at most {feature.maximum}. Received: {high}")
    if problems:
        raise DataError(
            f"{source} holds values that the schema file does not allow, with which `dssm run` would stop: "
            f"{'; '.join(problems)}. Correct the data or the schema file."
        )


def find_items_of_log(released: pa.Table, items: pa.Table, spec: FeatureSpec) -> list[str]:
    """Find the items of a release that are in its log alone, as their features' defaults tell.

    Args:
        released: The release's catalogue.
        items: The cleaned item table.
        spec: The features, each with a default.

    Returns:
        Ids of those that the item table lacks.
    """
    name = spec.item_id.name
    ids = released.column(name).combine_chunks()
    is_missing = pc.invert(pc.is_in(ids, value_set=items.column(name).combine_chunks()))
    missing = released.filter(is_missing)
    of_log = entity_rows(items, missing.column(name).combine_chunks(), spec.table_features("item"))
    has_others = np.zeros(len(missing), bool)
    for column in of_log.column_names:
        if column in missing.column_names:
            has_others |= _differ(_whole(missing, column), _whole(of_log, column))
    return missing.column(name).filter(pa.array(~has_others)).to_pylist()


def compare_catalogues(released: pa.Table, catalogue: pa.Table, spec: FeatureSpec) -> CatalogueChange:
    """Tell how a catalogue differs from that of a release.

    Args:
        released: [released items] the release's.
        catalogue: [items] the new one.
        spec: The features.

    Returns:
        The difference.

    Raises:
        ReleaseError: An item feature has another type than in the release.
    """
    name = spec.item_id.name
    ids, released_ids = _whole(catalogue, name), _whole(released, name)
    found = pc.index_in(ids, value_set=released_ids)
    rows = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    of_both = rows >= 0
    features = {feature.name for feature in spec.table_features("item")}
    differs = {}
    for column in dict.fromkeys([*catalogue.column_names, *released.column_names]):
        if column not in catalogue.column_names or column not in released.column_names:
            differs[column] = of_both
            continue
        if column in features:
            _refuse_other_type(
                column, released.schema.field(column).type, catalogue.schema.field(column).type
            )
        mask = np.zeros(len(rows), bool)
        mask[of_both] = _differ(
            _whole(released, column).take(found.drop_null()),
            _whole(catalogue, column).filter(pa.array(of_both)),
        )
        differs[column] = mask
    gone = released_ids.filter(pc.invert(pc.is_in(released_ids, value_set=ids)))
    return CatalogueChange(rows, gone, differs)


def _refuse_other_type(column: str, released: pa.DataType, now: pa.DataType) -> None:
    if released != now:
        raise ReleaseError(
            f"{column}: expected values of type {released}, as the release's item tower was trained on. "
            f"Received: {now}. Refresh with the schema file that it was trained with, or train: `dssm run`."
        )


def _differ(one: pa.Array, other: pa.Array) -> npt.NDArray[np.bool_]:
    """Tell for each of [rows] whether two columns have different values; missing ones are equal."""
    if pa.types.is_list(one.type) and one.type == other.type:
        return _differ_in_lists(one, other)
    if pa.types.is_nested(one.type) or one.type != other.type:
        # What is only shown can be of any type, and of another one since the release.
        return np.array([a != b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)], bool)
    if pa.types.is_floating(one.type):
        one, other = (values.fill_null(np.nan) for values in (one, other))
        both_missing = pc.and_(pc.is_nan(one), pc.is_nan(other))
        return to_mask(pc.and_not(pc.not_equal(one, other), both_missing))
    both = pc.and_(pc.is_null(one), pc.is_null(other))
    return to_mask(pc.and_not(pc.fill_null(pc.not_equal(one, other), True), both))


def _differ_in_lists(one: pa.Array, other: pa.Array) -> npt.NDArray[np.bool_]:
    lengths, others = (
        pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        for values in (one, other)
    )
    differs = lengths != others
    same = pa.array(~differs)
    one, other = one.filter(same), other.filter(same)
    of_values = _differ(one.flatten(), other.flatten())
    owners = pc.list_parent_indices(one).to_numpy()
    differs[np.flatnonzero(~differs)[owners[of_values]]] = True
    return differs


def _whole(table: pa.Table, column: str) -> pa.Array:
    return table.column(column).combine_chunks()
