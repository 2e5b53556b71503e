"""Store payloads by their CIDs: in a folder, on an IPFS daemon, or behind a gateway.

Names load when they are first used: a folder needs no HTTP.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bcfl.storage.address import FallbackStore, Pins, open_store
    from bcfl.storage.directory import DirectoryStore
    from bcfl.storage.gateway import GatewayStore
    from bcfl.storage.kubo import KuboStore
    from bcfl.storage.retries import Retries

__all__ = ["DirectoryStore", "FallbackStore", "GatewayStore", "KuboStore", "Pins", "Retries", "open_store"]

_MODULES: Final = {
    "DirectoryStore": "directory",
    "FallbackStore": "address",
    "GatewayStore": "gateway",
    "KuboStore": "kubo",
    "Pins": "address",
    "Retries": "retries",
    "open_store": "address",
}


def __getattr__(name: str) -> Any:
    """Return what another module of the package defines, and load it when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
