"""Compute and parse content identifiers: names of payloads in the store, and their 32 bytes on chain.

A CID here is CIDv1, base32, sha2-256, as `ipfs add --cid-version=1` computes it: of one chunk the raw leaf
itself, of more the root of Kubo's balanced dag-pb tree over raw leaves, at most 174 links to a node. The two
differ in codec, and the length of the bytes says which one it is, so the chain needs only the digest.
"""

from __future__ import annotations

import re
from base64 import b32decode, b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from aleph_cid import CidHasher

from bcfl.errors import CidError

CHUNK_BYTES = 262_144
RAW, DAG_PB = 0x55, 0x70
_SHAPE = re.compile(r"b[a-z2-7]{58}", re.ASCII)
_VERSION, _SHA2_256 = 1, (0x12, 32)


@dataclass(frozen=True)
class Cid:
    """The parts of a CID that vary; `str()` gives its one spelling."""

    codec: int  # RAW or DAG_PB
    digest: bytes  # sha2-256, 32 bytes

    def __str__(self) -> str:
        binary = bytes((_VERSION, self.codec, *_SHA2_256)) + self.digest
        return "b" + b32encode(binary).decode("ascii").rstrip("=").lower()


def compute(data: bytes | Iterable[bytes]) -> str:
    """Compute the CID of bytes, whole or in pieces of any length."""
    hasher = CidHasher.for_ipfs_v1_raw_leaves()
    for piece in [data] if isinstance(data, bytes) else data:
        hasher.update(piece)
    return hasher.finalize()


def digest(cid: str) -> bytes:
    """Return the 32 bytes of a CID that the chain records; raises CidError."""
    return parse(cid).digest


@lru_cache(maxsize=4096)
def from_digest(digest: bytes, size: int) -> str:
    """Return the CID of `size` bytes whose recorded digest is `digest`."""
    return str(Cid(RAW if size <= CHUNK_BYTES else DAG_PB, digest))


def parse(text: str) -> Cid:
    """Parse a CID written in its one spelling; any other text raises CidError."""
    if not _SHAPE.fullmatch(text):
        raise CidError(f"not a CID (CIDv1, base32, 59 characters): {text[:80]!r}")
    binary = b32decode(text[1:].upper() + "=" * 6)
    cid = Cid(binary[1], binary[4:])
    if cid.codec not in (RAW, DAG_PB) or str(cid) != text:
        raise CidError(f"not a CIDv1 of raw or dag-pb bytes by sha2-256: {text!r}")
    return cid
