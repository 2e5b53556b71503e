"""The archives in which a gateway hands out many blocks at once (steps 6 and 8), read as they come.

https://ipld.io/specs/transport/car/carv1
"""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.cid import CHUNK_BYTES, Cid
from bcfl.storage.ipld.dag import CID_BYTES, VARINT_BYTES, Malformed, parse_binary, varint

MOST_HEADER = 256
ROOTS_KEY = b"\xa2\x65roots"
VERSION = b"\x67version\x01"


def longest(max_bytes: int) -> int:
    """More bytes than the CAR of a file has: 110 for each of its blocks, and a few blocks more."""
    return max_bytes + 110 * (max_bytes // CHUNK_BYTES + 16) + 4 * CHUNK_BYTES


class Reader:
    """The blocks of a CARv1 that comes in pieces; raises Malformed as soon as it is none, or too long."""

    def __init__(self, pieces: Iterator[bytes], root: Cid, most: int) -> None:
        self._pieces, self._left = pieces, most
        self._buffer = bytearray()
        self._check_header(root)

    def blocks(self) -> Iterator[tuple[Cid, bytes]]:
        """Each block with the CID that it claims, unverified."""
        while self._fill(1):
            section = self._section(CID_BYTES + CHUNK_BYTES)
            yield parse_binary(section[:CID_BYTES]), section[CID_BYTES:]

    def _check_header(self, root: Cid) -> None:
        """One root, ours, or none: a gateway may leave it out."""
        binary = bytes((1, root.codec, 0x12, 32)) + root.digest
        link = b"\xd8\x2a\x58" + bytes((CID_BYTES + 1, 0)) + binary
        heads = (ROOTS_KEY + b"\x81" + link + VERSION, ROOTS_KEY + b"\x80" + VERSION)
        if self._section(MOST_HEADER) not in heads:
            raise Malformed("not a CARv1 of this content")

    def _section(self, most: int) -> bytes:
        """The next length-prefixed bytes."""
        while not any(byte < 0x80 for byte in self._buffer[:VARINT_BYTES]):
            if len(self._buffer) >= VARINT_BYTES or not self._fill(len(self._buffer) + 1):
                raise Malformed("not a length")
        size, start = varint(bytes(self._buffer[:VARINT_BYTES]), 0)
        if not 0 < size <= most:
            raise Malformed(f"a section of {size} bytes")
        if not self._fill(start + size):
            raise Malformed("cut off")
        section = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return section

    def _fill(self, size: int) -> bool:
        """Whether `size` bytes could be had."""
        while len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                return False
            self._left -= len(piece)
            if self._left < 0:
                raise Malformed("longer than the content can be")
            self._buffer += piece
        return True
