"""Load the curve BLS12-381 of py-evm when a contract first calls it: its tables take half a second.

Every command that opens an embedded chain would wait for them otherwise, and no contract of bcfl calls them.
"""

from __future__ import annotations

import importlib
import sys
from threading import Lock
from types import ModuleType
from typing import Any, Final

NAME: Final = "eth.precompiles.bls12_381"
_LOCK = Lock()


class DeferredModule(ModuleType):
    """Stands in for the module of the precompiles; what one takes from it loads the real one when called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def precompile(computation: Any) -> Any:
            return getattr(_load(), name)(computation)

        return precompile


def defer() -> None:
    """Let the next import of py-evm leave these precompiles out; nothing where they are loaded already."""
    sys.modules.setdefault(NAME, DeferredModule(NAME))


def _load() -> ModuleType:
    """Return the real module, in the place of the other from now on."""
    with _LOCK:
        if isinstance(sys.modules.get(NAME), DeferredModule):
            del sys.modules[NAME]
        return importlib.import_module(NAME)
