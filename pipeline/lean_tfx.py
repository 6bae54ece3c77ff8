"""Makes TFX load its components one by one.

The package tfx.components imports every component and what it needs: Keras Tuner and Keras 3, Kubernetes, a
model server's clients; a tenth of a run's imports, for none of which there is any use here.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any, Final

_PACKAGE: Final = "tfx.components"


class _LeanPackage(ModuleType):
    """A package with the submodules of the real one, which it becomes when anything else is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        object.__setattr__(self, "__class__", ModuleType)
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def load_components_one_by_one() -> None:
    """Let `import tfx.components.transform.component` import that component alone.

    Call it before anything of TFX is imported; afterwards it changes nothing.
    """
    if _PACKAGE in sys.modules:
        return
    import tfx

    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        return
    package = _LeanPackage(_PACKAGE)
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__path__ = list(spec.submodule_search_locations or [])
    package.__package__ = _PACKAGE
    sys.modules[_PACKAGE] = package
    tfx.components = package
