"""Store payloads by their CIDs: in a folder, on an IPFS daemon, or behind a gateway."""

from bcfl.storage.address import FallbackStore, Pins, open_store
from bcfl.storage.directory import DirectoryStore
from bcfl.storage.gateway import GatewayStore
from bcfl.storage.kubo import KuboStore
from bcfl.storage.retries import Retries

__all__ = ["DirectoryStore", "FallbackStore", "GatewayStore", "KuboStore", "Pins", "Retries", "open_store"]
