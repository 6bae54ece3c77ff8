"""Items to export."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.export.changes import ItemChanges
from pipeline.export.content import ExportedItems


@pytest.fixture
def make_items():
    """Make items to export, all of them new if nothing else is said."""

    def make(ids, embeddings, columns=None, changed=(), unchanged=(), deleted=()):
        changes = ItemChanges(
            np.array([name not in {*changed, *unchanged} for name in ids], bool),
            np.array([name in changed for name in ids], bool),
            pa.array(deleted, pa.string()),
        )
        catalogue = pa.table({"item_id": pa.array(ids, pa.string()), **(columns or {})})
        return ExportedItems("item_id", catalogue, np.array(embeddings, np.float32), changes)

    return make
