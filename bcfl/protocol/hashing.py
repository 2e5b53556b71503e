"""Hash as the contract does: keccak-256, ABI words, and the fold of a list into one digest."""

from __future__ import annotations

from collections.abc import Iterable

from sha3 import keccak_256  # type: ignore[import-untyped]

from bcfl.protocol.types import ZERO_DIGEST


def keccak(data: bytes) -> bytes:
    """Return the keccak-256 digest of `data`, 32 bytes."""
    digest: bytes = keccak_256(data).digest()
    return digest


def word(value: int) -> bytes:
    """Encode an unsigned integer as a 32-byte word, most significant byte first."""
    return value.to_bytes(32, "big")


def fold(items: Iterable[bytes], start: bytes = ZERO_DIGEST) -> bytes:
    """Fold a list of words into one digest: `digest = keccak(digest + item)` for each in turn."""
    digest = start
    for item in items:
        digest = keccak(digest + item)
    return digest


def abi_encode(*fields: list[bytes] | bytes) -> bytes:
    """Encode static words (32 bytes each) and arrays of words (lists) as Vyper's `abi_encode` does."""
    head, tail = [], b""
    offset = 32 * len(fields)
    for field in fields:
        if isinstance(field, bytes):
            head.append(field)
            continue
        head.append(word(offset + len(tail)))
        tail += word(len(field)) + b"".join(field)
    return b"".join(head) + tail
