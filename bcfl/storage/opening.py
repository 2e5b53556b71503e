"""Which store an address means (steps 3, 6 and 8): a folder or an IPFS daemon, and a gateway besides."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bcfl.errors import ConfigError, Corrupt, StoreError, Unavailable
from bcfl.storage.directory import DirectoryStore
from bcfl.storage.gateway import GatewayStore
from bcfl.storage.kubo import KuboStore

if TYPE_CHECKING:
    from bcfl.ports import Store  # brings the cryptography with it

DAEMON = "ipfs:"
SEARCH = 60.0  # seconds


@runtime_checkable
class Pins(Protocol):
    """A store that is told what to keep and what may go."""

    def pin(self, cid: str) -> None: ...
    def unpin(self, cid: str) -> None: ...


class FallbackStore:
    """A store, and another to read from when the first does not have the bytes, or not the right ones.

    What only the other has is kept in the first, if that takes it, so that it can be pinned there.
    """

    def __init__(self, primary: Store, fallback: Store) -> None:
        self.primary, self.fallback = primary, fallback

    def put(self, data: bytes) -> str:
        """Keep `data` in the first store and return its CID."""
        return self.primary.put(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        """The verified bytes of `cid` from the one or the other.

        When neither has them: Unavailable if the first store says so, whatever ails the other; else the first
        store's own error.
        """
        try:
            return self.primary.get(cid, max_bytes)
        except StoreError as first:
            try:
                data = self.fallback.get(cid, max_bytes)
            except StoreError as second:
                text = f"{first}; and {second}"
                raise type(first)(text, cid) from second
            if isinstance(first, Unavailable | Corrupt):
                with suppress(StoreError):
                    self.primary.put(data)
            return data

    def has(self, cid: str) -> bool:
        """Whether either holds `cid`, as far as they can be asked."""
        try:
            held = self.primary.has(cid)
        except StoreError:
            return self.fallback.has(cid)
        with suppress(StoreError):
            held = held or self.fallback.has(cid)
        return held

    def pin(self, cid: str) -> None:
        """Keep `cid` in the first store, if that is one that pins."""
        if isinstance(self.primary, Pins):
            self.primary.pin(cid)

    def unpin(self, cid: str) -> None:
        """Let the first store drop `cid`, if that is one that pins."""
        if isinstance(self.primary, Pins):
            self.primary.unpin(cid)


def open_store(address: str, gateway: str | None = None, search: float = SEARCH) -> Store:
    """The store of `--store` and `--gateway`: a folder's path, or `ipfs:` and a daemon's multiaddr.

    `search`: the most seconds to look for bytes that nobody may have. Nothing is sent yet. Raises ConfigError
    for what is none, StoreError for a folder that cannot be made.
    """
    store: Store
    if address.startswith(DAEMON):
        store = KuboStore(address.removeprefix(DAEMON), search=search)
    elif not address or "\0" in address or "://" in address or address.startswith(("/ip4/", "/ip6/", "/dns")):
        raise ConfigError(f"{address[:80]!r} is no store: name a folder, or ipfs:/ip4/127.0.0.1/tcp/5001")
    else:
        store = DirectoryStore(Path(address).expanduser())
    return store if gateway is None else FallbackStore(store, GatewayStore(gateway, timeout=search))
