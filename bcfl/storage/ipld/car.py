"""Read the archives in which a gateway sends many blocks at once, as they come.

https://ipld.io/specs/transport/car/carv1
"""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.cid import CHUNK_BYTES, Cid
from bcfl.storage.ipld.encoding import (
    CID_BYTES,
    VARINT_BYTES,
    Malformed,
    decode_cid,
    decode_varint,
    encode_cid,
)

MAX_HEADER_BYTES = 256
ROOTS_KEY = b"\xa2\x65roots"
VERSION = b"\x67version\x01"
LINK = b"\xd8\x2a\x58" + bytes((CID_BYTES + 1, 0))  # dag-cbor's tag and head of a CID


def header(root: Cid) -> bytes:
    """Return the header of a CAR with one root, in dag-cbor and without its length."""
    return ROOTS_KEY + b"\x81" + LINK + encode_cid(root) + VERSION


def max_car_bytes(max_bytes: int) -> int:
    """Return more bytes than the CAR of a file of `max_bytes` has.

    110 for each of its blocks, and a few blocks more.
    """
    return max_bytes + 110 * (max_bytes // CHUNK_BYTES + 16) + 4 * CHUNK_BYTES


class Reader:
    """The blocks of a CARv1 that comes in pieces.

    Raises Malformed as soon as it is none, or has more than `max_bytes`.
    """

    def __init__(self, pieces: Iterator[bytes], root: Cid, max_bytes: int) -> None:
        self._pieces, self._remaining_bytes = pieces, max_bytes
        self._buffer = bytearray()
        self._check_header(root)

    def blocks(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield each block with the CID that it claims, unverified."""
        while self._fill(1):
            section = self._section(CID_BYTES + CHUNK_BYTES)
            yield decode_cid(section[:CID_BYTES]), section[CID_BYTES:]

    def _check_header(self, root: Cid) -> None:
        """Accept one root, `root`, or none: a gateway may leave it out."""
        headers = header(root), ROOTS_KEY + b"\x80" + VERSION
        if self._section(MAX_HEADER_BYTES) not in headers:
            raise Malformed("not a CARv1 of this content")

    def _section(self, max_bytes: int) -> bytes:
        """Return the next length-prefixed bytes."""
        while not any(byte < 0x80 for byte in self._buffer[:VARINT_BYTES]):
            if len(self._buffer) >= VARINT_BYTES or not self._fill(len(self._buffer) + 1):
                raise Malformed("not a length")
        size, start = decode_varint(bytes(self._buffer[:VARINT_BYTES]), 0)
        if not 0 < size <= max_bytes:
            raise Malformed(f"a section of {size} bytes")
        if not self._fill(start + size):
            raise Malformed("cut off")
        section = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return section

    def _fill(self, size: int) -> bool:
        """Return whether the buffer has `size` bytes, after waiting for them."""
        while len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                return False
            self._remaining_bytes -= len(piece)
            if self._remaining_bytes < 0:
                raise Malformed("longer than the content can be")
            self._buffer += piece
        return True
