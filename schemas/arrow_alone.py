"""pyarrow without pandas, which takes half a second to import."""

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

import pyarrow as pa


def use_arrow_alone() -> None:
    """Have pyarrow make arrays without importing pandas.

    Where pandas is installed, pyarrow imports it to see whether what an array is made of belongs to it; but
    it looks once in a process, here in vain. pandas can be imported afterwards, and a table becomes one of
    its own. Where pandas is imported already, nothing happens.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _PandasHider)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_PandasHider)


class _PandasHider:
    """Finds that pandas is not installed."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Refuse pandas; leave any other module to the next finder."""
        if name == "pandas":
            raise ModuleNotFoundError("Expected a process without pandas. Received: its import.", name=name)
        return None
