"""Open the store that an address names: a folder or an IPFS daemon, with a gateway to fall back on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bcfl.errors import ConfigError, Corrupt, StoreError, Unavailable
from bcfl.folders import expanded
from bcfl.storage.directory import DirectoryStore
from bcfl.storage.gateway import GatewayStore
from bcfl.storage.kubo import KuboStore

if TYPE_CHECKING:
    from bcfl.ports import Store  # brings the cryptography with it

DAEMON = "ipfs:"
SEARCH_SECONDS = 60.0


@runtime_checkable
class Pins(Protocol):
    """A store that keeps what is pinned and may drop the rest."""

    def pin(self, cid: str) -> None:
        """Keep `cid`."""

    def unpin(self, cid: str) -> None:
        """Let `cid` be dropped."""


class FallbackStore:
    """A store, and another to read from when the first does not have the bytes, or not the right ones.

    What only the other has is put into the first, if that takes it, so that it can be pinned there.
    """

    def __init__(self, primary: Store, fallback: Store) -> None:
        self.primary, self.fallback = primary, fallback

    def put(self, data: bytes) -> str:
        """Put `data` into the first store and return its CID."""
        return self.primary.put(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the verified bytes of `cid` from the first store or else from the other.

        Raises the error of the first store when neither has them, with that of the other in its message.
        """
        try:
            return self.primary.get(cid, max_bytes)
        except StoreError as error:
            try:
                data = self.fallback.get(cid, max_bytes)
            except StoreError as other:
                raise type(error)(f"{error}; and {other}", cid) from other
            if isinstance(error, Unavailable | Corrupt):
                with suppress(StoreError):
                    self.primary.put(data)
            return data

    def has(self, cid: str) -> bool:
        """Return whether either holds `cid`, as far as they can be asked."""
        try:
            if self.primary.has(cid):
                return True
        except StoreError:
            return self.fallback.has(cid)
        with suppress(StoreError):
            return self.fallback.has(cid)
        return False

    def pin(self, cid: str) -> None:
        """Pin `cid` in the first store, if that is one that pins."""
        if isinstance(self.primary, Pins):
            self.primary.pin(cid)

    def unpin(self, cid: str) -> None:
        """Unpin `cid` in the first store, if that is one that pins."""
        if isinstance(self.primary, Pins):
            self.primary.unpin(cid)


def open_store(address: str, gateway: str | None = None, search: float = SEARCH_SECONDS) -> Store:
    """Open the store of `--store` and `--gateway`: a folder's path, or `ipfs:` and a daemon's multiaddr.

    `search` is the most seconds to look for bytes that nobody may have. Nothing is sent yet. Raises
    ConfigError for what is none, StoreError for a folder that cannot be created.
    """
    store: Store
    if address.startswith(DAEMON):
        store = KuboStore(address.removeprefix(DAEMON), search=search)
    elif not address or "\0" in address or "://" in address or address.startswith(("/ip4/", "/ip6/", "/dns")):
        raise ConfigError(f"{address[:80]!r} is no store: name a folder, or ipfs:/ip4/127.0.0.1/tcp/5001")
    else:
        store = DirectoryStore(expanded(Path(address)))
    return store if gateway is None else FallbackStore(store, GatewayStore(gateway, timeout=search))
