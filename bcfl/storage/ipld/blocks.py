"""Cut a file into the blocks that Kubo makes of it; `dag` puts them together again.

https://ipld.io/specs/codecs/dag-pb/spec
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bcfl.protocol.cid import CHUNK_BYTES, DAG_PB, RAW, Cid
from bcfl.storage.ipld.dag import FILE, LINKS
from bcfl.storage.ipld.encoding import encode_cid, encode_varint


@dataclass(frozen=True)
class Subtree:
    """A subtree of a file by the CID of its top block."""

    cid: Cid
    file_bytes: int  # of the file under it
    block_bytes: int  # of all its blocks


def blocks_of(data: bytes) -> Iterator[tuple[Cid, bytes]]:
    """Yield the blocks of a file, leaves before nodes; the last one is the root, whose CID is the file's."""
    level: list[Subtree] = []
    for start in range(0, max(len(data), 1), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        cid = _cid(RAW, chunk)
        level.append(Subtree(cid, len(chunk), len(chunk)))
        yield cid, chunk
    while len(level) > 1:
        parents: list[Subtree] = []
        for start in range(0, len(level), LINKS):
            children = level[start : start + LINKS]
            block = _node(children)
            cid = _cid(DAG_PB, block)
            file_bytes = sum(child.file_bytes for child in children)
            block_bytes = len(block) + sum(child.block_bytes for child in children)
            parents.append(Subtree(cid, file_bytes, block_bytes))
            yield cid, block
        level = parents


def _cid(codec: int, block: bytes) -> Cid:
    return Cid(codec, hashlib.sha256(block).digest())


def _node(children: Sequence[Subtree]) -> bytes:
    """Return a dag-pb node: its links, then what UnixFS says of the file under them."""
    links = b"".join(_field(2, _link(child)) for child in children)
    sizes = b"".join(b"\x20" + encode_varint(child.file_bytes) for child in children)
    total = encode_varint(sum(child.file_bytes for child in children))
    return links + _field(1, b"\x08" + encode_varint(FILE) + b"\x18" + total + sizes)


def _link(child: Subtree) -> bytes:
    return _field(1, encode_cid(child.cid)) + _field(2, b"") + b"\x18" + encode_varint(child.block_bytes)


def _field(key: int, content: bytes) -> bytes:
    """Return a length-delimited field of protobuf."""
    return encode_varint(key << 3 | 2) + encode_varint(len(content)) + content
