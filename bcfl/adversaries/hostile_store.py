"""Hostile bytes: a device that keeps them to itself, or puts others in their place.

`withholder`: data availability as in Al-Bassam et al. 2018 (arXiv:1809.09044). `malformed`: hostile content
of several kinds; each has the CID that the device reveals, so the store does its part.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

from bcfl.adversaries.attack import DeviceAttack, DeviceParts, option
from bcfl.ports import Store
from bcfl.protocol import cid
from bcfl.protocol.fixedpoint import Lanes
from bcfl.roles.common.archive import Archive

HUGE = (1 << 62).to_bytes(8, "little")  # what a header claims for its own length


class _Import:
    """An object that imports a module if somebody unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (__import__, ("antigravity",))


MALFORMATIONS: dict[str, Callable[[bytes], bytes]] = {
    "root": lambda data: data[:-1] + bytes([data[-1] ^ 1]),  # canonical, but of another root
    "truncated": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + bytes(1 << 16),
    "header": lambda data: HUGE + data[8:],
    "pickle": lambda data: pickle.dumps(_Import()).ljust(len(data), b"\0"),
    "empty": lambda _: b"",
}


class _WithholdingStore:
    """A store that names the CID of everything and holds nothing that is put there."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, data: bytes) -> str:
        return cid.compute(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        return self.store.get(cid, max_bytes)

    def has(self, cid: str) -> bool:
        return self.store.has(cid)


class _MalformingArchive(Archive):
    """An archive that encodes other bytes than those of the vector."""

    def __init__(self, archive: Archive, malform: Callable[[bytes], bytes]) -> None:
        vars(self).update(vars(archive))
        self.malform = malform

    def encode(self, lanes: Lanes) -> tuple[bytes, bytes]:
        """Return a malformed payload of a vector, and the root of the right one."""
        data, root = super().encode(lanes)
        return self.malform(data), root


@dataclass(frozen=True)
class Withholder(DeviceAttack):
    """Commits to an update and reveals its CID, and never gives the bytes away."""

    PAPER: ClassVar[str] = "Al-Bassam et al. 2018, arXiv:1809.09044"

    def archive(self, parts: DeviceParts) -> Archive:
        """Return an archive that puts nothing on the store."""
        archive = copy(parts.archive)
        archive.store = _WithholdingStore(parts.archive.store)
        return archive


@dataclass(frozen=True)
class Malformed(DeviceAttack):
    """Puts bytes on the store that are no update, under their own CID."""

    PAPER: ClassVar[str] = "no paper: content that a reader of payloads has to refuse"
    kind: str = option("root", "what is wrong with them", choices=tuple(MALFORMATIONS))

    def archive(self, parts: DeviceParts) -> Archive:
        """Return an archive that puts something else on the store."""
        return _MalformingArchive(parts.archive, MALFORMATIONS[self.kind])
