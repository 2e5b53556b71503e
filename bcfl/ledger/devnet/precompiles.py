"""Load parts of py-evm when they are first called: the tables of curves, and what proof of work needs.

They take more than half a second. Every command that opens an embedded chain would wait for them otherwise,
and no contract of bcfl calls them.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from threading import Lock
from types import ModuleType
from typing import Any, Final

CURVES: Final = ("ecadd", "ecmul", "ecpairing", "bls12_381")  # BN254, then BLS12-381
NAMES: Final = (*(f"eth.precompiles.{name}" for name in CURVES), "eth.consensus.ethash")
_LOCK = Lock()


class DeferredModule(ModuleType):
    """Stands in for a module of functions; what one takes from it loads the real one when called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def function(*args: Any, **options: Any) -> Any:
            if not args:  # py-evm changes the gas that a precompile costs so
                return partial(function, **options)
            return getattr(_load(self.__name__), name)(*args, **options)

        return function


def defer() -> None:
    """Let the next import of py-evm leave these modules out; nothing where they are loaded already."""
    for name in NAMES:
        sys.modules.setdefault(name, DeferredModule(name))


def _load(name: str) -> ModuleType:
    """Return the real module, in the place of the other from now on."""
    with _LOCK:
        if isinstance(sys.modules.get(name), DeferredModule):
            del sys.modules[name]
        return importlib.import_module(name)
