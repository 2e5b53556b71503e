"""What a hostile device does with its bytes (step 3): keep them, or put others in their place.

`withholder`: data availability as in Al-Bassam et al. 2018 (arXiv:1809.09044). `malformed`: hostile content
of the kinds that section 9 of the protocol lists; each has the CID that the device reveals, so the store does
its part.
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
from bcfl.roles.common.archive import Archive, PackedVector, StoredVector

HUGE = (1 << 62).to_bytes(8, "little")  # what a header claims for its own length


class _Calling:
    """Unpickled, it would import and call something."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (__import__, ("antigravity",))


MANGLED: dict[str, Callable[[bytes], bytes]] = {
    "root": lambda data: data[:-1] + bytes([data[-1] ^ 1]),  # canonical, but of another root
    "truncated": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + bytes(1 << 16),
    "header": lambda data: HUGE + data[8:],
    "pickle": lambda data: pickle.dumps(_Calling()).ljust(len(data), b"\0"),
    "empty": lambda _: b"",
}


class _Withholding:
    """Knows the CID of everything and holds nothing that is put there."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, data: bytes) -> str:
        return cid.compute(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        return self.store.get(cid, max_bytes)

    def has(self, cid: str) -> bool:
        return self.store.has(cid)


class _Mangling(Archive):
    """Packs other bytes than those of the vector."""

    def __init__(self, archive: Archive, mangle: Callable[[bytes], bytes]) -> None:
        vars(self).update(vars(archive))
        self.mangle = mangle

    def pack(self, lanes: Lanes) -> PackedVector:
        honest = super().pack(lanes)
        data = self.mangle(honest.data)
        return PackedVector(StoredVector(honest.stored.root, cid.digest(cid.compute(data))), data)


@dataclass(frozen=True)
class Withholder(DeviceAttack):
    """Commits to an update and reveals its CID, and never gives the bytes away."""

    PAPER: ClassVar[str] = "Al-Bassam et al. 2018, arXiv:1809.09044"

    def archive(self, parts: DeviceParts) -> Archive:
        """Puts nothing on the store."""
        twin = copy(parts.archive)
        twin.store = _Withholding(parts.archive.store)
        return twin


@dataclass(frozen=True)
class Malformed(DeviceAttack):
    """Puts bytes on the store that are no update, under their own CID."""

    PAPER: ClassVar[str] = "section 9 of the protocol"
    kind: str = option("root", "what is wrong with them", choices=tuple(MANGLED))

    def archive(self, parts: DeviceParts) -> Archive:
        """Puts something else on the store."""
        return _Mangling(parts.archive, MANGLED[self.kind])
