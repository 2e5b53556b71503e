# pragma version 0.4.3
"""
@title leaves: what a challenge shows of the trees
@license Apache-2.0
@notice Words, lanes and leaves of the calldata, and the path from a leaf up to its root. They are read
        where they stand: what may be long is never copied. A leaf is handed in as it is hashed, behind
        its zero byte.
"""

from modules import terms

uses: terms


MAX_DEPTH: constant(uint256) = 37  # 2**40 parameters in leaves of 8 lanes
NODE: constant(bytes1) = 0x01  # what stands before two nodes when they are hashed
LEVELS: constant(uint256) = 8  # of a tree that one answer of a dispute shows
NODES: constant(uint256) = 256
ANY: constant(uint256) = max_value(uint256)  # a length that is not insisted upon


@internal
@view
def _word(at: uint256) -> uint256:
    """
    @notice A word of the calldata.
    @param at Where it begins.
    """
    return convert(slice(msg.data, at, 32), uint256)


@internal
@view
def _head(place: uint256) -> uint256:
    """
    @notice A word of the arguments.
    @param place Which one.
    """
    return self._word(unsafe_add(4, unsafe_mul(32, place)))


@internal
@view
def _tail(head: uint256) -> uint256:
    """
    @notice Where an argument without fixed length begins, behind its length.
    @param head Which word of the arguments leads there.
    """
    return 36 + self._head(head)


@internal
@view
def _length(head: uint256) -> uint256:
    """
    @notice The length of an argument.
    @param head Which word of the arguments leads there.
    """
    return self._word(self._tail(head) - 32)


@internal
@view
def _lane(at: uint256, bits: uint256) -> int256:
    """
    @notice A signed lane.
    @param at Where its first byte is.
    @param bits Its width.
    """
    unused: uint256 = unsafe_sub(256, bits)
    # The word that ends with the lane: one that begins with it may go beyond the end.
    return (convert(slice(msg.data, unsafe_sub(at, unused >> 3), 32), int256) << unused) >> unused


@internal
@view
def _leaves() -> uint256:
    """
    @notice The leaves of every tree, without padding.
    """
    return unsafe_div(unsafe_sub(terms.TERMS.parameters, 1), terms.TERMS.leaf_lanes) + 1


@internal
@view
def _size() -> uint256:
    """
    @notice The bytes of an update's leaf.
    """
    return unsafe_div(unsafe_mul(terms.TERMS.leaf_lanes, terms.TERMS.lane_bits), 8)


@internal
@view
def _content(head: uint256, size: uint256) -> uint256:
    """
    @notice Where a leaf's first byte is, behind the zero.
    @param head Which word of the arguments leads to it.
    @param size Its length, or ANY.
    """
    at: uint256 = self._tail(head)
    # Behind a content without a byte stands what the sender wants.
    assert self._word(at - 32) != 0 and self._word(at - 31) & 255 == 0, "challenges: not a leaf"
    assert size == ANY or self._word(at - 32) == 1 + size, "challenges: leaf of another length"
    return at + 1


@internal
@view
def _prove(digest: bytes32, leaf: uint256, proof: DynArray[bytes32, MAX_DEPTH], root: bytes32):
    """
    @notice Insists that a leaf stands in a tree.
    @param digest The leaf's digest.
    @param leaf Its place.
    @param proof Its siblings, the lowest first.
    @param root The root of the tree.
    """
    assert leaf < self._leaves(), "challenges: no such place"
    self._check_depth(len(proof))
    assert self._above(digest, leaf, proof) == root, "challenges: not in the tree"


@internal
@view
def _check_depth(depth: uint256):
    """
    @notice Insists that a node is as far below the root as it has to be.
    @dev    Apart from the climb: a proof is copied wherever it is handed on.
    @param depth The node's height above the leaves, and the siblings above it.
    """
    last: uint256 = self._leaves() - 1
    exact: bool = last >> depth == 0 and (depth == 0 or last >> (depth - 1) == 1)
    assert exact, "challenges: proof of another length"


@internal
@pure
def _above(digest: bytes32, index: uint256, proof: DynArray[bytes32, MAX_DEPTH]) -> bytes32:
    """
    @notice The node above another one, as many levels up as there are siblings.
    @param digest The lower node's digest.
    @param index Its place among the nodes of its height; the bits beyond the siblings do not matter.
    @param proof The siblings, the lowest first.
    """
    node: bytes32 = digest
    path: uint256 = index
    for sibling: bytes32 in proof:
        if path & 1 == 1:
            node = keccak256(concat(NODE, sibling, node))
        else:
            node = keccak256(concat(NODE, node, sibling))
        path >>= 1
    return node


@internal
@view
def _depth() -> uint256:
    """
    @notice The height of every tree.
    """
    last: uint256 = self._leaves() - 1
    depth: uint256 = 0
    for _: uint256 in range(MAX_DEPTH):
        if last >> depth == 0:
            break
        depth += 1
    return depth


@internal
@pure
def _top(nodes: DynArray[bytes32, NODES], height: uint256, levels: uint256) -> bytes32:
    """
    @notice The node above nodes, behind which there is padding.
    @param nodes Their digests.
    @param height Their height.
    @param levels How many levels up.
    """
    level: DynArray[bytes32, NODES] = nodes
    width: uint256 = len(nodes)
    padding: bytes32 = empty(bytes32)
    for _: uint256 in range(height, bound=MAX_DEPTH):
        padding = keccak256(concat(NODE, padding, padding))
    for _: uint256 in range(levels, bound=LEVELS):
        for i: uint256 in range(width // 2, bound=128):
            level[i] = keccak256(concat(NODE, level[2 * i], level[2 * i + 1]))
        if width % 2 == 1:
            level[width // 2] = keccak256(concat(NODE, level[width - 1], padding))
        width = (width + 1) // 2
        padding = keccak256(concat(NODE, padding, padding))
    return level[0]
