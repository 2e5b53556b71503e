"""Archives as a gateway sends them, of files in blocks: right ones, and such as no file has."""

from __future__ import annotations

import hashlib

from bcfl.protocol import cid as cids
from bcfl.protocol.cid import CHUNK_BYTES, DAG_PB, RAW, Cid
from tests.ipfs.fake import Script, reply

SMALL = b"weights of a model"
LARGE = hashlib.shake_128(b"weights").digest(2 * CHUNK_BYTES + 5)
SMALL_CID, LARGE_CID = cids.compute(SMALL), cids.compute(LARGE)
CAR = "application/vnd.ipld.car; version=1"
Blocks = list[tuple[Cid, bytes]]


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def binary(cid: Cid) -> bytes:
    return bytes((1, cid.codec, 0x12, 32)) + cid.digest


def node(children: list[tuple[Cid, int]], kind: int = 2, total: int | None = None) -> tuple[Cid, bytes]:
    """A UnixFS node, written down from the specification: children with the bytes of the file in each."""
    links = b""
    for child, size in children:
        body = b"\x0a\x24" + binary(child) + b"\x12\x00\x18" + varint(size)
        links += b"\x12" + varint(len(body)) + body
    sizes = b"".join(b"\x20" + varint(size) for _, size in children)
    file_size = sum(size for _, size in children) if total is None else total
    data = b"\x08" + varint(kind) + b"\x18" + varint(file_size) + sizes
    block = links + b"\x0a" + varint(len(data)) + data
    return Cid(DAG_PB, hashlib.sha256(block).digest()), block


def leaf(data: bytes) -> tuple[Cid, bytes]:
    return Cid(RAW, hashlib.sha256(data).digest()), data


def tree(data: bytes) -> Blocks:
    """The blocks of a file of one level, root first."""
    leaves = [leaf(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]
    # Tsize is the size of the child's block, which for a leaf is that of its bytes
    return [node([(cid, len(block)) for cid, block in leaves]), *leaves]


def section(content: bytes) -> bytes:
    return varint(len(content)) + content


def header(root: Cid) -> bytes:
    return section(b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + binary(root) + b"\x67version\x01")


def archive(root: Cid, blocks: Blocks) -> bytes:
    return header(root) + b"".join(section(binary(cid) + block) for cid, block in blocks)


ROOT = cids.parse(LARGE_CID)
GOOD = archive(ROOT, tree(LARGE))


def car(body: bytes) -> Script:
    return lambda _: reply(body, Content_Type=CAR)


def with_tsizes(block: bytes, sizes: list[int], tsizes: list[int]) -> bytes:
    """The links of a node name the bytes of the whole tree below, its data those of the file."""
    for size, tsize in zip(sizes, tsizes, strict=True):
        assert len(varint(size)) == len(varint(tsize)) or size == 3
        old, new = b"\x18" + varint(size), b"\x18" + varint(tsize)
        at = block.index(b"\x12\x00" + old) + 2
        block = block[:at] + new + block[at + len(old) :]
    return block


def changed(at: int) -> bytes:
    return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]


HEAD = len(header(ROOT))
STRANGER = leaf(b"unasked")


def hostile(children: list[tuple[Cid, int]], **other: int) -> tuple[str, bytes]:
    root, block = node(children, **other)
    return str(root), archive(root, [(root, block), STRANGER, leaf(b""), leaf(bytes(CHUNK_BYTES))])


UNASKED, FULL, EMPTY = STRANGER[0], leaf(bytes(CHUNK_BYTES))[0], leaf(b"")[0]
