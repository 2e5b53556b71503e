"""Encode and decode the two things that blocks and archives are made of: varints and CIDs.

https://github.com/multiformats/unsigned-varint, https://github.com/multiformats/cid
"""

from __future__ import annotations

from typing import Final

from bcfl.protocol.cid import DAG_PB, RAW, Cid

CID_BYTES: Final = 36
CID_HEADS: Final = tuple(bytes((1, codec, 0x12, 32)) for codec in (RAW, DAG_PB))  # v1, sha2-256 of 32 bytes
VARINT_BYTES: Final = 9


class Malformed(ValueError):
    """Bytes that are not what they should be."""


def encode_cid(cid: Cid) -> bytes:
    """Return the 36 bytes of a CID."""
    return bytes((1, cid.codec, 0x12, 32)) + cid.digest


def decode_cid(data: bytes) -> Cid:
    """Return the CID in 36 bytes; raises Malformed for any other."""
    if len(data) != CID_BYTES or data[:4] not in CID_HEADS:
        raise Malformed("not a CIDv1 of raw or dag-pb bytes by sha2-256")
    return Cid(data[1], data[4:])


def encode_varint(number: int) -> bytes:
    """Return an unsigned varint."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def decode_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the number at `start` and the offset after it; raises Malformed unless in its shortest form."""
    number = 0
    for index, byte in enumerate(data[start : start + VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # the last
            if byte == 0 and index:
                break
            return number, start + index + 1
    raise Malformed("not a number in its shortest form")
