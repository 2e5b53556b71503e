"""Build Merkle trees over packed lanes: one root stands for a vector, or for all updates of a round.

    leaf i   keccak256(0x00 ++ packed leaf i)      leaf_lanes lanes; the vector's end padded with zeros
    padding  32 zero bytes, up to 2**depth leaves  no packed leaf hashes to it, so padding cannot be opened
    node     keccak256(0x01 ++ left ++ right)

Lanes are packed two's complement, most significant byte first: in the EVM the first lane of a leaf is the top
bits of its first word, lane `j` a signed shift right by `256 - bits * (j % (256 / bits) + 1)` of word
`j * bits // 256`, cut to `bits`.

A rows tree has for leaf `i` the packed leaves `i` of all updates one after the other; the tree of a single
vector is the rows tree of that vector alone, and that is how it is computed.

Hashing is one call of safe-pysha3 for each digest: 0.8 us for a node, where pycryptodome takes 4 us and a
permutation in numpy 1.5 us over thousands of nodes at once, far more over few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from sha3 import keccak_256  # type: ignore[import-untyped]

from bcfl.protocol.fixedpoint import Lanes

_LEAF, _NODE = b"\x00", b"\x01"
_DIGEST = 32
_BLOCK_BYTES = 1 << 22  # of packed lanes hashed at a time; a row may be larger


@dataclass(frozen=True)
class Tree:
    """Every digest of a tree: `levels[h]` holds those at height `h` one after the other, without padding."""

    levels: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """Return the digest that stands for the whole, 32 bytes."""
        return self.levels[-1]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings from leaf `index` up to the root, lowest first; raises IndexError."""
        if not 0 <= index < len(self.levels[0]) // _DIGEST:
            raise IndexError(f"the tree has {len(self.levels[0]) // _DIGEST} leaves, no leaf {index}")
        siblings = []
        for height, level in enumerate(self.levels[:-1]):
            start = ((index >> height) ^ 1) * _DIGEST
            siblings.append(level[start : start + _DIGEST] or padding(height))
        return tuple(siblings)


def tree_of(contents: Sequence[bytes], height: int) -> Tree:
    """Build the tree of height `height` over leaves of any length, also of lengths that no vector has."""
    levels = [b"".join([keccak_256(_LEAF + leaf).digest() for leaf in contents])]
    for below in range(height):
        levels.append(_parents(levels[-1], below))
    return Tree(tuple(levels))


def leaves(parameters: int, leaf_lanes: int) -> int:
    """Return how many leaves a vector of `parameters` lanes fills, the last one perhaps in part."""
    return max(1, -(-parameters // leaf_lanes))


def depth(parameters: int, leaf_lanes: int) -> int:
    """Return the number of digests in a proof: the height of the smallest tree with room for all leaves."""
    return (leaves(parameters, leaf_lanes) - 1).bit_length()


def build(lanes: Lanes, leaf_lanes: int) -> Tree:
    """Build the tree of one vector, (parameters,)."""
    return rows_tree([lanes], leaf_lanes)


def root(lanes: Lanes, leaf_lanes: int) -> bytes:
    """Return the root of `build(lanes, leaf_lanes)`, in bounded memory."""
    return rows_root([lanes], leaf_lanes)


def leaf(lanes: Lanes, leaf_lanes: int, index: int) -> bytes:
    """Return the packed leaf `index`: `leaf_lanes * bits / 8` bytes; no such leaf raises IndexError."""
    return row([lanes], leaf_lanes, index)


def rows_tree(updates: Sequence[Lanes], leaf_lanes: int) -> Tree:
    """Build the tree of all updates, (updates, parameters): at least one, all of one length and type."""
    height = depth(len(updates[0]), leaf_lanes)
    levels = [b"".join(_leaf_digests(updates, leaf_lanes, 1 << height))]
    for below in range(height):
        levels.append(_parents(levels[-1], below))
    return Tree(tuple(levels))


def rows_root(updates: Sequence[Lanes], leaf_lanes: int) -> bytes:
    """Return the root of `rows_tree(updates, leaf_lanes)`, keeping a digest for each subtree of some MiB."""
    height, below = _heights(updates, leaf_lanes)
    tops = b"".join(top(digests, 0, below) for digests in _leaf_digests(updates, leaf_lanes, 1 << below))
    return top(tops, below, height)


def rows_proof(updates: Sequence[Lanes], leaf_lanes: int, index: int) -> tuple[bytes, ...]:
    """Return `rows_tree(updates, leaf_lanes).proof(index)` in `rows_root`'s memory; raises IndexError."""
    count = leaves(len(updates[0]), leaf_lanes)
    if not 0 <= index < count:
        raise IndexError(f"the tree has {count} leaves, no leaf {index}")
    height, below = _heights(updates, leaf_lanes)
    lower: tuple[bytes, ...] = ()
    tops = []
    for number, digests in enumerate(_leaf_digests(updates, leaf_lanes, 1 << below)):
        if number == index >> below:
            lower = siblings(digests, index & ((1 << below) - 1), 0, below)
        tops.append(top(digests, 0, below))
    return lower + siblings(b"".join(tops), index >> below, below, height)


def rows_node(updates: Sequence[Lanes], leaf_lanes: int, height: int, index: int) -> bytes:
    """Return node `index` of those at `height` of the rows tree; it must be above a leaf."""
    start, stop = (place * leaf_lanes << height for place in (index, index + 1))
    parts = [lanes[start:stop] for lanes in updates]
    below = depth(len(parts[0]), leaf_lanes)
    return top(rows_root(parts, leaf_lanes), below, height)


def row(updates: Sequence[Lanes], leaf_lanes: int, index: int) -> bytes:
    """Return the packed leaf `index` of the rows tree: `len(updates) * leaf_lanes * bits / 8` bytes.

    Raises IndexError if the vectors have no such leaf.
    """
    if not 0 <= index < leaves(len(updates[0]), leaf_lanes):
        raise IndexError(f"a vector of {len(updates[0])} lanes has no leaf {index}")
    return _pack(updates, leaf_lanes, index, index + 1)


def verify(root: bytes, index: int, leaf_bytes: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether `leaf_bytes` is leaf `index` of the tree with that root."""
    if not 0 <= index < 1 << len(proof) or any(len(sibling) != _DIGEST for sibling in proof):
        return False
    return climb(keccak_256(_LEAF + leaf_bytes).digest(), index, proof) == root


def climb(digest: bytes, index: int, siblings: Sequence[bytes]) -> bytes:
    """Return the digest above node `index` of its level, as many levels up as there are siblings."""
    for height, sibling in enumerate(siblings):
        pair = sibling + digest if index >> height & 1 else digest + sibling
        digest = keccak_256(_NODE + pair).digest()
    return digest


@cache
def padding(height: int) -> bytes:
    """Return the digest of a subtree of that height that holds nothing but padding."""
    if height == 0:
        return bytes(_DIGEST)
    below = padding(height - 1)
    digest: bytes = keccak_256(_NODE + below + below).digest()
    return digest


def _heights(updates: Sequence[Lanes], leaf_lanes: int) -> tuple[int, int]:
    """Return the height of a rows tree, and that of its subtrees of which one is in memory at a time."""
    height = depth(len(updates[0]), leaf_lanes)
    row_bytes = len(updates) * leaf_lanes * updates[0].dtype.itemsize
    return height, min(height, (_BLOCK_BYTES // row_bytes).bit_length())


def siblings(digests: bytes, index: int, below: int, height: int) -> tuple[bytes, ...]:
    """Return the siblings of node `index` of level `below` and of the nodes above, up to level `height`."""
    path = []
    for level in range(below, height):
        start = ((index >> (level - below)) ^ 1) * _DIGEST
        path.append(digests[start : start + _DIGEST] or padding(level))
        digests = _parents(digests, level)
    return tuple(path)


def _pack(updates: Sequence[Lanes], leaf_lanes: int, start: int, stop: int) -> bytes:
    """Pack the rows `start` to `stop`, big-endian, the vectors' end padded with zero lanes."""
    rows = np.zeros((stop - start, len(updates), leaf_lanes), updates[0].dtype.newbyteorder(">"))
    for position, lanes in enumerate(updates):
        part = lanes[start * leaf_lanes : stop * leaf_lanes]
        full, remainder = divmod(len(part), leaf_lanes)
        rows[:full, position] = part[: full * leaf_lanes].reshape(full, leaf_lanes)
        if remainder:
            rows[full, position, :remainder] = part[full * leaf_lanes :]
    return rows.tobytes()


def _leaf_digests(updates: Sequence[Lanes], leaf_lanes: int, group: int) -> Iterator[bytes]:
    """Yield leaf digests, `group` leaves (a power of two) at a time; the last group may be shorter."""
    count = leaves(len(updates[0]), leaf_lanes)
    size = len(updates) * leaf_lanes * updates[0].dtype.itemsize
    step = max(1, _BLOCK_BYTES // size)
    for first in range(0, count, group):
        last = min(first + group, count)
        starts = range(first, last, step)
        yield b"".join(_hash_leaves(_pack(updates, leaf_lanes, i, min(i + step, last)), size) for i in starts)


def _hash_leaves(rows: bytes, size: int) -> bytes:
    return b"".join([keccak_256(_LEAF + rows[i : i + size]).digest() for i in range(0, len(rows), size)])


def top(digests: bytes, below: int, height: int) -> bytes:
    """Return the one digest at `height` above the consecutive digests of level `below`."""
    for level in range(below, height):
        digests = _parents(digests, level)
    return digests


def _parents(digests: bytes, height: int) -> bytes:
    """Return the level above `height`: one digest for each pair."""
    if len(digests) % (2 * _DIGEST):
        digests += padding(height)
    return b"".join([keccak_256(_NODE + digests[i : i + 64]).digest() for i in range(0, len(digests), 64)])
