"""Put a file together from blocks that strangers send, each verified as it comes.

A CID of this protocol says more than its digest: a file of n bytes has one tree, Kubo's balanced one of raw
leaves. A block that has another form is refused although its hash is right, so the tree of a hostile author
is no larger than the file that it stands for. https://ipld.io/specs/codecs/dag-pb/spec
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from bcfl.errors import Corrupt, Oversized
from bcfl.protocol import cid as cids
from bcfl.protocol.cid import CHUNK_BYTES, DAG_PB, Cid
from bcfl.storage.ipld.encoding import Malformed, decode_cid, decode_varint

LINKS = 174  # of a node, at most: the width of Kubo's trees
BYTES, VARINT = 2, 0  # protobuf wire types
FILE = 2  # UnixFS's type of a file


@dataclass(frozen=True)
class Node:
    """An inner block: the CIDs of its children, and how many bytes of the file each stands for."""

    links: tuple[Cid, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """The shape that a block must have."""

    size: int  # bytes of the file under it
    height: int  # levels above the leaves


class Assembly:
    """A file of at most `max_bytes` bytes that grows block by block; it takes only the blocks it lacks."""

    def __init__(self, root: Cid, max_bytes: int) -> None:
        self._root, self._max_bytes = root, max_bytes
        self._wanted: dict[Cid, Shape | None] = {root: None}
        self._leaves: dict[Cid, bytes] = {}
        self._nodes: dict[Cid, Node] = {}

    @property
    def wanted(self) -> list[Cid]:
        """Return the CIDs of the blocks that are still to come, as far as they are known."""
        return list(self._wanted)

    @property
    def next_wanted(self) -> Cid | None:
        """Return the CID of a block that is still to come; None when the file is whole."""
        return next(iter(self._wanted), None)

    def take(self, cid: Cid, block: bytes) -> None:
        """Add a block; raises Corrupt for one that is not wanted or not its own, Oversized for too much."""
        if cid in self._leaves or cid in self._nodes:
            return
        if cid not in self._wanted:
            raise Corrupt(f"{cid} is no block of {self._root}", str(self._root))
        if not matches(cid, block):
            raise Corrupt(f"the bytes given for block {cid} are not its own", str(self._root))
        shape = self._wanted.pop(cid)
        try:
            self._insert(cid, block, shape)
        except Malformed as error:
            raise Corrupt(
                f"block {cid} is not of a file as `ipfs add` makes it: {error}", str(self._root)
            ) from error

    def data(self) -> bytes:
        """Return the whole file; raises Corrupt when blocks are missing or the file has another CID."""
        if self._wanted:
            raise Corrupt(f"{len(self._wanted)} blocks of {self._root} are missing", str(self._root))
        data = b"".join(self._pieces(self._root))
        if cids.compute(data) != str(self._root):
            raise Corrupt(f"{self._root} is not as `ipfs add` makes it", str(self._root))
        return data

    def _insert(self, cid: Cid, block: bytes, shape: Shape | None) -> None:
        node = parse_node(block) if cid.codec == DAG_PB else None
        size = len(block) if node is None else sum(node.sizes)
        if size > self._max_bytes:
            text = f"{self._root} has {size} bytes, more than the {self._max_bytes} expected"
            raise Oversized(text, str(self._root))
        if shape is None:  # the root's, whose size says how high the tree is
            shape = Shape(size, height(size))
        if (size, node is None) != (shape.size, shape.height == 0):
            raise Malformed(f"it has {size} bytes and not {shape.size}, or is not of its level")
        if node is None:
            self._leaves[cid] = block
            return
        self._nodes[cid] = node
        for child, child_size in zip(node.links, child_sizes(node, shape.height), strict=True):
            if child not in self._leaves and child not in self._nodes:
                self._wanted.setdefault(child, Shape(child_size, shape.height - 1))

    def _pieces(self, cid: Cid) -> Iterator[bytes]:
        if cid in self._leaves:
            yield self._leaves[cid]
        else:
            for child in self._nodes[cid].links:
                yield from self._pieces(child)


def matches(cid: Cid, block: bytes) -> bool:
    """Return whether a block is the one that `cid` names."""
    return hashlib.sha256(block).digest() == cid.digest


def height(size: int) -> int:
    """Return the levels of nodes above the leaves in the tree of a file of `size` bytes."""
    levels = 0
    while CHUNK_BYTES * LINKS**levels < size:
        levels += 1
    return levels


def child_sizes(node: Node, levels: int) -> tuple[int, ...]:
    """Return the sizes of a node's children; raises Malformed unless all are full but the last."""
    full_size = CHUNK_BYTES * LINKS ** (levels - 1)
    count, remainder = divmod(sum(node.sizes), full_size)
    if node.sizes != (full_size,) * count + ((remainder,) if remainder else ()):
        raise Malformed("its children are not of the sizes that they should be")
    return node.sizes


def parse_node(block: bytes) -> Node:
    """Parse the dag-pb node of a UnixFS file that holds no bytes itself; raises Malformed."""
    fields = list(_fields(block))
    if len(fields) > LINKS + 1 or [number for number, _ in fields] != [2] * (len(fields) - 1) + [1]:
        raise Malformed("not at most 174 links followed by data")
    links = tuple(_link(value) for _, value in fields[:-1])
    data = list(_fields(_bytes(fields[-1][1])))
    if [number for number, _ in data] != [1, 3] + [4] * len(links):
        raise Malformed("not a file with one size for each link")
    kind, total, *sizes = (_number(value) for _, value in data)
    if kind != FILE or total != sum(sizes):
        raise Malformed("not a file, or its size is not that of its parts")
    return Node(links, tuple(sizes))


def _link(value: int | bytes) -> Cid:
    fields = list(_fields(_bytes(value)))
    if [number for number, _ in fields] != [1, 2, 3] or fields[1][1] != b"":
        raise Malformed("not a nameless link")
    return decode_cid(_bytes(fields[0][1]))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: number, and value as int or bytes."""
    offset = 0
    while offset < len(data):
        key, offset = decode_varint(data, offset)
        value, offset = decode_varint(data, offset)
        if key & 7 == VARINT:
            yield key >> 3, value
        elif key & 7 == BYTES and offset + value <= len(data):
            yield key >> 3, data[offset : offset + value]
            offset += value
        else:
            raise Malformed("not protobuf")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise Malformed("a number where bytes belong")


def _number(value: int | bytes) -> int:
    if isinstance(value, int):
        return value
    raise Malformed("bytes where a number belongs")
