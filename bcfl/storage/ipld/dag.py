"""The blocks of a file (steps 6 and 8): how bytes from strangers become a payload again, block by block.

A CID of this protocol says more than its digest: a file of n bytes has one tree, Kubo's balanced one of raw
leaves. A block that has another form is refused although its hash is right, so the tree of a hostile author
is no larger than the file it stands for. https://ipld.io/specs/codecs/dag-pb/spec
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from bcfl.errors import Corrupt, Oversized
from bcfl.protocol import cid as cids
from bcfl.protocol.cid import CHUNK_BYTES, DAG_PB, RAW, Cid

LINKS = 174
CID_BYTES = 36
CID_HEADS = tuple(bytes((1, codec, 0x12, 32)) for codec in (RAW, DAG_PB))
VARINT_BYTES = 9
BYTES, VARINT = 2, 0  # protobuf wire types
FILE = 2  # UnixFS


class Malformed(ValueError):
    """Bytes that are not what they should be."""


@dataclass(frozen=True)
class Node:
    """An inner block: where its children are, and how many bytes of the file each stands for."""

    links: tuple[Cid, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """What a block has to be: so many bytes of the file, so many levels above the leaves."""

    size: int
    height: int


class Assembly:
    """A file of at most `max_bytes` bytes that grows block by block; it takes none but those it wants."""

    def __init__(self, root: Cid, max_bytes: int) -> None:
        self._root, self._max_bytes = root, max_bytes
        self._wanted: dict[Cid, Place | None] = {root: None}
        self._leaves: dict[Cid, bytes] = {}
        self._nodes: dict[Cid, Node] = {}

    @property
    def wanted(self) -> list[Cid]:
        """What is still to come, as far as known."""
        return list(self._wanted)

    def take(self, cid: Cid, block: bytes) -> None:
        """Add a block; raises Corrupt for one that is not wanted or not its own, Oversized for too much."""
        if cid in self._leaves or cid in self._nodes:
            return
        if cid not in self._wanted:
            raise Corrupt(f"{cid} is no block of {self._root}", str(self._root))
        if not is_own(cid, block):
            raise Corrupt(f"the bytes given for block {cid} are not its own", str(self._root))
        place = self._wanted.pop(cid)
        try:
            self._place(cid, block, place)
        except Malformed as error:
            raise Corrupt(
                f"block {cid} is not of a file as `ipfs add` makes it: {error}", str(self._root)
            ) from error

    def data(self) -> bytes:
        """The whole file; raises Corrupt when blocks are missing or the file has another CID."""
        if self._wanted:
            raise Corrupt(f"{len(self._wanted)} blocks of {self._root} are missing", str(self._root))
        data = b"".join(self._pieces(self._root))
        if cids.compute(data) != str(self._root):
            raise Corrupt(f"{self._root} is not as `ipfs add` makes it", str(self._root))
        return data

    def _place(self, cid: Cid, block: bytes, place: Place | None) -> None:
        node = parse_node(block) if cid.codec == DAG_PB else None
        size = len(block) if node is None else sum(node.sizes)
        if size > self._max_bytes:
            text = f"{self._root} has {size} bytes, more than the {self._max_bytes} expected"
            raise Oversized(text, str(self._root))
        if place is None:  # of the root, whose size says how high the tree is
            place = Place(size, height(size))
        if (size, node is None) != (place.size, place.height == 0):
            raise Malformed(f"it has {size} bytes and not {place.size}, or is not of its level")
        if node is None:
            self._leaves[cid] = block
            return
        self._nodes[cid] = node
        for child, part in zip(node.links, parts(node, place.height), strict=True):
            if child not in self._leaves and child not in self._nodes:
                self._wanted.setdefault(child, Place(part, place.height - 1))

    def _pieces(self, cid: Cid) -> Iterator[bytes]:
        if cid in self._leaves:
            yield self._leaves[cid]
        else:
            for child in self._nodes[cid].links:
                yield from self._pieces(child)


def is_own(cid: Cid, block: bytes) -> bool:
    """Whether a block is the one that `cid` names."""
    return hashlib.sha256(block).digest() == cid.digest


def height(size: int) -> int:
    """The levels of nodes above the leaves in the tree of a file of `size` bytes."""
    levels = 0
    while CHUNK_BYTES * LINKS**levels < size:
        levels += 1
    return levels


def parts(node: Node, levels: int) -> tuple[int, ...]:
    """The sizes of a node's children, all full but the last; raises Malformed when they are others."""
    full, rest = divmod(sum(node.sizes), CHUNK_BYTES * LINKS ** (levels - 1))
    if node.sizes != (CHUNK_BYTES * LINKS ** (levels - 1),) * full + ((rest,) if rest else ()):
        raise Malformed("its children are not of the sizes that they should be")
    return node.sizes


def parse_node(block: bytes) -> Node:
    """The dag-pb node of a UnixFS file that holds no bytes itself; raises Malformed."""
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


def parse_binary(data: bytes) -> Cid:
    """The CID in 36 bytes; raises Malformed for any other."""
    if len(data) != CID_BYTES or data[:4] not in CID_HEADS:
        raise Malformed("not a CIDv1 of raw or dag-pb bytes by sha2-256")
    return Cid(data[1], data[4:])


def _link(value: int | bytes) -> Cid:
    fields = list(_fields(_bytes(value)))
    if [number for number, _ in fields] != [1, 2, 3] or fields[1][1] != b"":
        raise Malformed("not a nameless link")
    return parse_binary(_bytes(fields[0][1]))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: number, and value as int or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == VARINT:
            yield key >> 3, value
        elif key & 7 == BYTES and at + value <= len(data):
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise Malformed("not protobuf")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it; raises Malformed unless it is in its shortest form."""
    value = 0
    for index, byte in enumerate(data[at : at + VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # the last
            if byte == 0 and index:
                break
            return value, at + index + 1
    raise Malformed("not a number in its shortest form")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise Malformed("a number where bytes belong")


def _number(value: int | bytes) -> int:
    if isinstance(value, int):
        return value
    raise Malformed("bytes where a number belongs")
