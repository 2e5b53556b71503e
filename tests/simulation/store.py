"""The store of a federation: contents by CID, pins by party, and what each party's way to it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bcfl.errors import Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids

Strike = Callable[..., str | None]  # the one of some kinds of faults that happens here
CRUMB = 64  # bytes by which an answer that never ends is longer


@dataclass
class Contents:
    """What is stored; `ever` is all that was ever put, for the observer alone."""

    held: dict[str, bytes] = field(default_factory=dict)
    ever: dict[str, bytes] = field(default_factory=dict)
    pins: dict[str, set[str]] = field(default_factory=dict)  # CID -> parties

    def put(self, data: bytes) -> str:
        """Keep bytes."""
        cid = cids.compute(data)
        self.held[cid] = self.ever[cid] = data
        return cid

    def collect(self) -> int:
        """Drop what nobody pins, and return how much that was."""
        lost = [cid for cid in self.held if not self.pins.get(cid)]
        for cid in lost:
            del self.held[cid]
        return len(lost)


class ObserverStore:
    """Everything that was ever stored, for those who check an episode."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def put(self, data: bytes) -> str:
        """Return the CID; an observer changes nothing."""
        return cids.compute(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the bytes; raises Unavailable or Oversized."""
        return _bounded(self._contents.ever.get(cid), cid, max_bytes)

    def has(self, cid: str) -> bool:
        """Return whether they were ever stored."""
        return cid in self._contents.ever


class PartyStore:
    """One party's way to the store, as its adapter behaves: what it returns is what the CID names.

    `strike` decides about each fault, `before` may end the process or tell that the store is away.
    """

    def __init__(self, contents: Contents, party: str, strike: Strike, before: Callable[[str], None]) -> None:
        self._contents, self._party, self._strike, self._before = contents, party, strike, before

    def put(self, data: bytes) -> str:
        """Keep bytes; raises StoreError, where they may have been kept all the same."""
        self._before("put")
        fault = self._strike("store-refuses", "store-answer-lost")
        if fault == "store-refuses":
            raise StoreError("the store cannot keep it")
        cid = self._contents.put(data)
        self._contents.pins.setdefault(cid, set()).add(self._party)  # as Kubo's adapter does
        if fault == "store-answer-lost":
            raise StoreError("the store does not answer")
        self._before("put-after")
        return cid

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the bytes of a CID, as `bcfl.ports.Store` wants it."""
        self._before("get")
        fault = self._strike("store-silent", "store-missing", "store-corrupt", "store-endless")
        if fault == "store-silent":
            raise StoreError("the store does not answer", cid)
        if fault == "store-missing":
            raise Unavailable("nobody holds the bytes", cid)
        data = self._contents.held.get(cid)
        if data is not None and fault == "store-corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if data is not None and fault == "store-endless":
            data += bytes(max(0, max_bytes - len(data)) + CRUMB)
        found = _bounded(data, cid, max_bytes)
        if cids.compute(found) != cid:
            raise Corrupt("the bytes are not those of the CID", cid)
        return found

    def has(self, cid: str) -> bool:
        """Return whether anybody holds the bytes."""
        return cid in self._contents.held

    def pin(self, cid: str) -> None:
        """Keep the bytes of a CID."""
        self._before("pin")
        self._contents.pins.setdefault(cid, set()).add(self._party)

    def unpin(self, cid: str) -> None:
        """Let the bytes of a CID be dropped."""
        self._before("unpin")
        self._contents.pins.get(cid, set()).discard(self._party)


def _bounded(data: bytes | None, cid: str, max_bytes: int) -> bytes:
    if data is None:
        raise Unavailable("nobody holds the bytes", cid)
    if len(data) > max_bytes:
        raise Oversized("there are more bytes than expected", cid)
    return data
