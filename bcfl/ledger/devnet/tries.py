"""Read and change Merkle Patricia tries of keys of 32 bytes, as Ethereum keeps its state in.

A node is held as the RLP of its parts: two of a leaf or an extension, 17 of a branch. A part that names a
child is RLP in the parent as well, so a node is written by joining, and read by cutting. py-evm's own tries
decode and encode each part of each node, and read each node anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bcfl.protocol.hashing import keccak

EMPTY: Final = b"\x80"  # the RLP of no bytes: no child
BLANK_ROOT: Final = keccak(EMPTY)
BRANCH: Final = 17  # parts of a branch
HASHED: Final = 0xA0  # how the RLP of a digest begins
KEPT: Final = 8_192  # nodes kept apart; about 10 MB

Node = list[bytes]
Nodes = dict[bytes, Node]  # by the RLP that names them
Nibbles = bytes  # one of a path in each


def rlp_string(data: bytes) -> bytes:
    """Return the RLP of bytes."""
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _head(0x80, len(data)) + data


def rlp_list(parts: Iterable[bytes]) -> bytes:
    """Return the RLP of a list of which each part is RLP already."""
    content = b"".join(parts)
    return _head(0xC0, len(content)) + content


def rlp_number(number: int) -> bytes:
    """Return the RLP of a number that is not below 0."""
    return rlp_string(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def string_of(part: bytes) -> bytes:
    """Return the bytes that RLP is of."""
    return part[_start(part, 0) :]


def parts_of(data: bytes) -> Node:
    """Return the parts of the RLP of a list, each as RLP."""
    place, parts = _start(data, 0), []
    while place < len(data):
        end = _end(data, place)
        parts.append(data[place:end])
        place = end
    return parts


class Tries:
    """All tries whose nodes `read` returns by their digests; it raises KeyError for one that is not there.

    What was read is kept in `nodes`.
    """

    def __init__(self, read: Callable[[bytes], bytes], nodes: Nodes) -> None:
        self._read, self._nodes = read, nodes

    def get(self, root: bytes, key: bytes) -> bytes:
        """Return what is at a key, (32,) bytes, of the trie with this root; no bytes where nothing is."""
        name, path = _name(root), _nibbles(key)
        while name != EMPTY:
            node = self._node(name, {})
            if len(node) == BRANCH:
                name, path = node[path[0]], path[1:]
                continue
            start, is_leaf = _path(node[0])
            if is_leaf:
                return string_of(node[1]) if start == path else b""
            if not path.startswith(start):
                return b""
            name, path = node[1], path[len(start) :]
        return b""

    def changed(self, root: bytes, changes: Mapping[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
        """Return the root with `changes`, by key, and the nodes that are new, by digest.

        A change to no bytes removes what is there.
        """
        change = _Change(self._node)
        name = _name(root)
        for key, value in changes.items():
            path = _nibbles(key)
            name = change.put(name, path, rlp_string(value)) if value else change.remove(name, path)
        if name == EMPTY:
            return BLANK_ROOT, {}
        if name[0] != HASHED:  # a root has a digest also where it is short
            change.nodes[name_of(name)] = parts_of(name)
            name = name_of(name)
        return name[1:], self._new(name, change.nodes)

    def _node(self, name: bytes, new: Mapping[bytes, Node]) -> Node:
        """Return the parts of the node with this name, which nobody may change."""
        node = new.get(name) or self._nodes.get(name)
        if node is None:
            node = parts_of(self._read(name[1:]) if name[0] == HASHED else name)
            self._keep(name, node)
        return node

    def _new(self, name: bytes, nodes: Mapping[bytes, Node]) -> dict[bytes, bytes]:
        """Return those of new nodes that belong to the trie whose root has this name."""
        new, names = dict[bytes, bytes](), [name]
        while names:
            name = names.pop()
            node = nodes.get(name)
            if node is not None and name[1:] not in new:
                new[name[1:]] = rlp_list(node)
                self._keep(name, node)
                names += node if len(node) == BRANCH else node[1:]
        return new

    def _keep(self, name: bytes, node: Node) -> None:
        if len(self._nodes) >= KEPT:
            self._nodes.clear()
        self._nodes[name] = node


class _Change:
    """Changes of one trie, and the nodes that they make, by the RLP that names them."""

    def __init__(self, read: Callable[[bytes, Mapping[bytes, Node]], Node]) -> None:
        self._read = read
        self.nodes: Nodes = {}

    def put(self, name: bytes, path: Nibbles, value: bytes) -> bytes:
        """Put a value, as RLP, at a path below a node; return the name of what is there instead of it."""
        if name == EMPTY:
            return self._add([_compact(path, True), value])
        node = self._read(name, self.nodes)
        if len(node) == BRANCH:
            child = self.put(node[path[0]], path[1:], value)
            return self._add([*node[: path[0]], child, *node[path[0] + 1 :]])
        start, is_leaf = _path(node[0])
        common = _common(start, path)
        if common == len(start):
            child = value if is_leaf else self.put(node[1], path[common:], value)
            return self._add([node[0], child])
        branch = [EMPTY] * BRANCH
        rest = start[common + 1 :]
        below = self._add([_compact(rest, is_leaf), node[1]]) if is_leaf or rest else node[1]
        branch[start[common]] = below
        branch[path[common]] = self._add([_compact(path[common + 1 :], True), value])
        fork = self._add(branch)
        return self._add([_compact(path[:common], False), fork]) if common else fork

    def remove(self, name: bytes, path: Nibbles) -> bytes:
        """Remove what is at a path below a node; return the name of what is left of it."""
        if name == EMPTY:
            return name
        node = self._read(name, self.nodes)
        if len(node) == BRANCH:
            child = self.remove(node[path[0]], path[1:])
            if child == node[path[0]]:
                return name
            branch = [*node[: path[0]], child, *node[path[0] + 1 :]]
            left = [place for place, part in enumerate(branch) if part != EMPTY]
            return self._add(branch) if len(left) > 1 else self._join(bytes(left), branch[left[0]])
        start, is_leaf = _path(node[0])
        if is_leaf:
            return EMPTY if start == path else name
        if not path.startswith(start):
            return name
        child = self.remove(node[1], path[len(start) :])
        return name if child == node[1] else self._join(start, child)

    def _join(self, start: Nibbles, name: bytes) -> bytes:
        """Return the name of what leads by a path to a node, which becomes longer where it has one."""
        node = self._read(name, self.nodes)
        if len(node) == BRANCH:
            return self._add([_compact(start, False), name])
        rest, is_leaf = _path(node[0])
        return self._add([_compact(start + rest, is_leaf), node[1]])

    def _add(self, node: Node) -> bytes:
        """Return what names a node in its parent: its digest, or itself where that is shorter."""
        data = rlp_list(node)
        if len(data) < 32:
            return data
        name = name_of(data)
        self.nodes[name] = node
        return name


def name_of(data: bytes) -> bytes:
    """Return the RLP of the digest of a node."""
    return b"\xa0" + keccak(data)


def _name(root: bytes) -> bytes:
    return EMPTY if root == BLANK_ROOT else b"\xa0" + root


def _nibbles(key: bytes) -> Nibbles:
    return bytes([nibble for byte in key for nibble in (byte >> 4, byte & 15)])


def _common(first: Nibbles, second: Nibbles) -> int:
    """Return how many nibbles two paths begin with in common."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def _compact(path: Nibbles, is_leaf: bool) -> bytes:
    """Return the RLP of a path, two nibbles a byte, with a mark of leaves and of odd lengths."""
    mark = 2 * is_leaf + len(path) % 2
    nibbles = bytes([mark]) + path if len(path) % 2 else bytes([mark, 0]) + path
    return rlp_string(bytes(map(_byte, nibbles[::2], nibbles[1::2])))


def _byte(high: int, low: int) -> int:
    return high << 4 | low


def _path(part: bytes) -> tuple[Nibbles, bool]:
    """Return the path that a part is of, and whether it is a leaf's."""
    nibbles = _nibbles(string_of(part))
    return nibbles[1 if nibbles[0] & 1 else 2 :], nibbles[0] >= 2


def _head(kind: int, length: int) -> bytes:
    """Return how the RLP of so many bytes begins."""
    if length < 56:
        return bytes([kind + length])
    size = (length.bit_length() + 7) // 8
    return bytes([kind + 55 + size]) + length.to_bytes(size, "big")


def _start(data: bytes, place: int) -> int:
    """Return where the content of the RLP at a place begins."""
    first = data[place]
    if first < 0x80:
        return place
    if first < 0xC0:
        return place + 1 + max(0, first - 0xB7)
    return place + 1 + max(0, first - 0xF7)


def _end(data: bytes, place: int) -> int:
    """Return where the RLP at a place ends."""
    first = data[place]
    if first < 0x80:
        return place + 1
    kind = 0x80 if first < 0xC0 else 0xC0
    if first - kind < 56:
        return place + 1 + first - kind
    start = _start(data, place)
    return start + int.from_bytes(data[place + 1 : start], "big")
