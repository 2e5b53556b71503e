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
    word: uint256 = self._word(unsafe_sub(at, unsafe_div(unused, 8))) << unused
    return convert(convert(word, bytes32), int256) >> unused


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
def _depth(proofs: uint256, siblings: uint256) -> uint256:
    """
    @notice The siblings of a proof.
    @param proofs How many proofs are handed in.
    @param siblings How many siblings, in all of them.
    """
    last: uint256 = unsafe_sub(self._leaves(), 1)
    depth: uint256 = 0
    for _: uint256 in range(MAX_DEPTH):
        if last == 0:
            break
        last >>= 1
        depth = unsafe_add(depth, 1)
    assert siblings == unsafe_mul(proofs, depth), "challenges: proof of another length"
    return depth


@internal
@view
def _open(digest: bytes32, head: uint256, size: uint256, index: uint256, proof: uint256, depth: uint256, root: bytes32) -> uint256:
    """
    @notice Insists that a leaf stands in a tree.
    @param digest Its digest.
    @param head Which word of the arguments leads to it.
    @param size Its length, or ANY.
    @param index Its place among the leaves.
    @param proof Where its siblings begin.
    @param depth How many there are.
    @param root The root of the tree.
    @return Where its first byte is, behind the zero.
    """
    at: uint256 = self._tail(head)
    assert self._word(at - 31) & 255 == 0, "challenges: not a leaf"
    self._climb(digest, index, proof, depth, root)
    if size != ANY:
        assert self._word(at - 32) == 1 + size, "challenges: leaf of another length"
    return at + 1


@internal
@view
def _climb(digest: bytes32, index: uint256, proof: uint256, depth: uint256, root: bytes32):
    """
    @notice Insists that a node stands in a tree.
    @param digest The node.
    @param index Its place on its level.
    @param proof Where its siblings begin, the lowest first.
    @param depth How many there are.
    @param root The root of the tree.
    """
    node: bytes32 = digest
    path: uint256 = index
    at: uint256 = proof
    for _: uint256 in range(depth, bound=MAX_DEPTH):
        left: bytes32 = node
        right: bytes32 = convert(self._word(at), bytes32)
        if path & 1 == 1:
            left = right
            right = node
        node = keccak256(concat(b"\x01", left, right))
        path >>= 1
        at = unsafe_add(at, 32)
    assert node == root, "challenges: not in the tree"
