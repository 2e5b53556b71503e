"""A file as the blocks that Kubo makes of it (steps 3 and 7): the other way round is `dag.py`.

https://ipld.io/specs/codecs/dag-pb/spec
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bcfl.protocol.cid import CHUNK_BYTES, DAG_PB, RAW, Cid
from bcfl.storage.ipld.dag import FILE, LINKS

VERSION, SHA2_256, DIGEST = 1, 0x12, 32


@dataclass(frozen=True)
class Part:
    """A subtree: its top block's CID, the bytes of the file under it, and those of all its blocks."""

    cid: Cid
    size: int
    total: int


def blocks_of(data: bytes) -> Iterator[tuple[Cid, bytes]]:
    """The blocks of a file, leaves before nodes; the last one is the root, whose CID is the file's."""
    level: list[Part] = []
    for start in range(0, max(len(data), 1), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        cid = _named(RAW, chunk)
        level.append(Part(cid, len(chunk), len(chunk)))
        yield cid, chunk
    while len(level) > 1:
        above: list[Part] = []
        for start in range(0, len(level), LINKS):
            children = level[start : start + LINKS]
            block = _node(children)
            cid = _named(DAG_PB, block)
            size = sum(child.size for child in children)
            above.append(Part(cid, size, len(block) + sum(child.total for child in children)))
            yield cid, block
        level = above


def binary(cid: Cid) -> bytes:
    """The 36 bytes of a CID."""
    return bytes((VERSION, cid.codec, SHA2_256, DIGEST)) + cid.digest


def number(value: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _named(codec: int, block: bytes) -> Cid:
    return Cid(codec, hashlib.sha256(block).digest())


def _node(children: Sequence[Part]) -> bytes:
    """A dag-pb node: its links, then what UnixFS says of the file under them."""
    links = b"".join(_field(2, _link(child)) for child in children)
    sizes = b"".join(b"\x20" + number(child.size) for child in children)
    total = number(sum(child.size for child in children))
    return links + _field(1, b"\x08" + number(FILE) + b"\x18" + total + sizes)


def _link(child: Part) -> bytes:
    return _field(1, binary(child.cid)) + _field(2, b"") + b"\x18" + number(child.total)


def _field(key: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    return number(key << 3 | 2) + number(len(value)) + value
