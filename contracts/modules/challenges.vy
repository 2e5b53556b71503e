# pragma version 0.4.3
"""
@title challenges: one honest party is enough
@license Apache-2.0
@notice Anybody shows one place at which a proposal is wrong, and the contract computes that place
        anew. What is shown must open: the proposal and the tally to their digests, every leaf to its
        root. Then either the place is wrong, and the proposal is refuted, or it is right, and the
        bond goes to the pool. Leaves are handed in as they are hashed, behind their zero byte; the
        tally as the bytes whose hash is the accepted set.
@dev    A row may be longer than everything else together, and memory is paid for by its highest word.
        So the external functions keep no variables behind their arguments: they hash them, and the
        internal functions read single words where they stand in the calldata. The first arguments
        are the same everywhere: words 0 to 4 are the candidate, 5 leads to the tally, 6 to the proofs.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import treasury
from modules import leaves
from modules import aggregation
from modules import rounds
from modules import submissions
from modules import election
from modules import verification
from modules import proposals

uses: terms
uses: registry
uses: treasury
uses: leaves
uses: aggregation
uses: rounds
uses: election
uses: verification
uses: proposals


SUM: constant(uint256) = 1  # forms
ROW: constant(uint256) = 2
WEIGHTS: constant(uint256) = 3
LEAF: constant(uint256) = 4
PADDING: constant(uint256) = 5

MODEL_TREE: constant(uint256) = 0  # the words of the candidate with the two roots
ROWS_TREE: constant(uint256) = 3
WEIGHTS_WORD: constant(uint256) = 2
TALLY: constant(uint256) = 5  # words of the arguments
PROOFS: constant(uint256) = 6

CHECKPOINTS: constant(uint256) = 0  # words of the tally
VOTERS: constant(uint256) = 2
ACCEPTED: constant(uint256) = 4

MAX_TALLY: constant(uint256) = 5_600
MAX_LEAF: constant(uint256) = 16_385  # 4,096 lanes of a model behind a zero
MAX_ROW: constant(uint256) = 120_833  # as the terms allow, behind a zero
MAX_SAMPLES: constant(uint256) = 4_096
MAX_UPDATES: constant(uint256) = 1_024
GROUP: constant(uint256) = 32  # updates between two checkpoints
MODEL_BYTES: constant(uint256) = 4
MASK24: constant(uint256) = 2**24 - 1
MASK32: constant(uint256) = 2**32 - 1


@external
@payable
def challenge_sum(
    candidate: IFederation.Candidate,
    tally: Bytes[MAX_TALLY],
    proofs: DynArray[bytes32, 3 * leaves.MAX_DEPTH],
    leaf: uint256,
    lane: uint256,
    low: int256,
    high: int256,
    samples: Bytes[MAX_SAMPLES],
    before: Bytes[MAX_LEAF],
    after: Bytes[MAX_LEAF],
    row: Bytes[MAX_ROW],
):
    """
    @notice Wrong arithmetic: a lane of the new model is not what its row and the old model come to.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proofs The siblings of the row, the old and the new leaf, one after the other.
    @param leaf Which leaf.
    @param lane Which lane of it.
    @param low The lowest value that the median or the trimmed mean keeps.
    @param high The highest one.
    @param samples The proposed weights, four bytes for each accepted update.
    @param before The old model's leaf.
    @param after The new model's leaf.
    @param row The leaf of the rows tree.
    """
    self._open(keccak256(tally))
    self._sum(leaf, lane, low, high, keccak256(samples), keccak256(before), keccak256(after), keccak256(row))


@external
@payable
def challenge_row(
    candidate: IFederation.Candidate,
    tally: Bytes[MAX_TALLY],
    proofs: DynArray[bytes32, 2 * leaves.MAX_DEPTH],
    leaf: uint256,
    word: uint256,
    position: uint256,
    opening: IFederation.Opening,
    group: DynArray[uint256, GROUP],
    part: Bytes[MAX_LEAF],
    row: Bytes[MAX_ROW],
):
    """
    @notice Wrong row: a word of it is not what the accepted update has there.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proofs The siblings of the row and of the update's leaf, one after the other.
    @param leaf Which leaf.
    @param word Which word of the update's leaf.
    @param position The position of the update among the round's updates.
    @param opening What the update's commitment hides.
    @param group The words of the group of 32 updates (fewer at the end) that the position is in.
    @param part The update's leaf.
    @param row The leaf of the rows tree.
    """
    self._open(keccak256(tally))
    self._row(leaf, word, position, opening, keccak256(part), keccak256(row))


@external
@payable
def challenge_weights(
    candidate: IFederation.Candidate,
    tally: Bytes[MAX_TALLY],
    updates: DynArray[uint256, MAX_UPDATES],
    samples: Bytes[MAX_SAMPLES],
):
    """
    @notice Wrong weights: they are not the samples of the accepted updates.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param updates The round's words of the chain of updates.
    @param samples The samples of the accepted ones, four bytes each.
    """
    self._open(keccak256(tally))
    self._weights(keccak256(samples))


@external
@payable
def challenge_leaf(
    candidate: IFederation.Candidate,
    tally: Bytes[MAX_TALLY],
    proofs: DynArray[bytes32, leaves.MAX_DEPTH],
    tree: uint256,
    leaf: uint256,
    content: Bytes[MAX_ROW],
):
    """
    @notice A leaf of another length than all leaves of its tree have: an update too few, or too many.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proofs The leaf's siblings.
    @param tree MODEL_TREE or ROWS_TREE.
    @param leaf Which leaf.
    @param content The leaf.
    """
    self._open(keccak256(tally))
    self._leaf(tree, leaf, keccak256(content))


@external
@payable
def challenge_padding(
    candidate: IFederation.Candidate,
    tally: Bytes[MAX_TALLY],
    proofs: DynArray[bytes32, leaves.MAX_DEPTH],
    tree: uint256,
    height: uint256,
    index: uint256,
    digest: bytes32,
):
    """
    @notice A node above nothing but padding that has another digest than padding has.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proofs The node's siblings.
    @param tree MODEL_TREE or ROWS_TREE.
    @param height The node's height above the leaves.
    @param index Its place among the nodes of that height.
    @param digest Its digest.
    """
    self._open(keccak256(tally))
    rest: uint256 = len(proofs)
    leaves._depth(1, height + rest)
    self._insist(index >> rest == 0 and index << height >= leaves._leaves())
    leaves._climb(digest, index, leaves._tail(PROOFS), rest, self._root(tree))
    padding: bytes32 = empty(bytes32)
    for _: uint256 in range(height, bound=leaves.MAX_DEPTH):
        padding = keccak256(concat(b"\x01", padding, padding))
    self._rule(digest != padding, PADDING)


@internal
@payable
def _open(tally: bytes32):
    """
    @notice Takes the bond, and insists that proposal and tally are those of the round.
    @param tally The digest of the round's tally.
    """
    clock: uint256 = rounds._enter(rounds.ATTEST)
    assert msg.value == terms.TERMS.challenge_bond, "challenges: not the bond"
    rows: bytes32 = keccak256(concat(b"\x02", self._digest(WEIGHTS_WORD), self._digest(ROWS_TREE)))
    digest: bytes32 = keccak256(
        abi_encode(rounds._round(clock), self._digest(0), self._digest(1), rows, self._digest(4))
    )
    assert digest == proposals.proposal, "challenges: not what was proposed"
    assert tally == verification.accepted, "challenges: not the round's tally"


@internal
@payable
def _rule(wrong: bool, form: uint256):
    """
    @notice Ends a challenge: the proposal is refuted, or the bond is lost.
    @param wrong Whether the shown place is wrong.
    @param form The form of the challenge.
    """
    round: uint256 = rounds._round(rounds.clock)
    if not wrong:
        treasury.books += msg.value
        log IFederation.ChallengeFailed(round=round, challenger=msg.sender, form=form)
        return
    treasury.credits[msg.sender] += msg.value
    treasury.books += msg.value << treasury.OWED
    leader: address = registry.miners[election.lead & election.MASK8]
    log IFederation.Refuted(round=round, leader=leader, challenger=msg.sender, form=form)
    voters: DynArray[uint256, 64] = []
    at: uint256 = self._list(VOTERS)
    for i: uint256 in range(leaves._word(at - 32), bound=64):
        voters.append(leaves._word(at + 32 * i))
    proposals._refuted(voters, msg.sender)


@internal
@payable
def _sum(
    leaf: uint256,
    lane: uint256,
    low: int256,
    high: int256,
    weights: bytes32,
    before: bytes32,
    after: bytes32,
    row: bytes32,
):
    """
    @notice Rules on one lane of the new model; the digests are those of what is in the calldata.
    """
    self._insist(leaf < leaves._leaves() and lane < terms.TERMS.leaf_lanes)
    proof: uint256 = leaves._tail(PROOFS)
    depth: uint256 = leaves._depth(3, leaves._length(PROOFS))
    count: uint256 = self._accepted(MAX_UPDATES)
    same: bool = weights == self._digest(WEIGHTS_WORD)
    assert same and leaves._length(11) == 4 * count, "challenges: not the proposed weights"
    size: uint256 = count * leaves._size()
    parts: uint256 = leaves._open(row, 14, size, leaf, proof, depth, self._root(ROWS_TREE))
    size = terms.TERMS.leaf_lanes * MODEL_BYTES
    proof += 32 * depth
    old: uint256 = leaves._open(before, 12, size, leaf, proof, depth, proposals.root)
    proof += 32 * depth
    new: uint256 = leaves._open(after, 13, size, leaf, proof, depth, self._root(MODEL_TREE))
    right: int256 = 0
    if leaf * terms.TERMS.leaf_lanes + lane < terms.TERMS.parameters:
        right = leaves._lane(old + lane * MODEL_BYTES, 32)
        right += aggregation._step(parts, lane, count, leaves._tail(11), low, high)
        right = min(max(right, aggregation.LEAST), aggregation.MOST)
    self._rule(leaves._lane(new + lane * MODEL_BYTES, 32) != right, SUM)


@internal
@payable
def _row(
    leaf: uint256, word: uint256, position: uint256, opening: IFederation.Opening, part: bytes32, row: bytes32
):
    """
    @notice Rules on one word of a row; the digests are those of what is in the calldata.
    """
    size: uint256 = leaves._size()
    self._insist(leaf < leaves._leaves() and word < size // 32)
    depth: uint256 = leaves._depth(2, leaves._length(PROOFS))
    self._check_update(position, opening)
    proof: uint256 = leaves._tail(PROOFS)
    count: uint256 = self._accepted(MAX_UPDATES)
    parts: uint256 = leaves._open(row, 15, count * size, leaf, proof, depth, self._root(ROWS_TREE))
    own: uint256 = leaves._open(part, 14, size, leaf, proof + 32 * depth, depth, opening.root)
    shown: uint256 = leaves._word(parts + self._accepted(position) * size + word * 32)
    self._rule(shown != leaves._word(own + word * 32), ROW)


@internal
@view
def _check_update(position: uint256, opening: IFederation.Opening):
    """
    @notice Insists that an opening is that of the accepted update at a position.
    @param position Its position.
    @param opening What its commitment hides.
    """
    self._insist(self._accepted(position + 1) != self._accepted(position))
    first: uint256 = position // GROUP
    checkpoints: uint256 = self._list(CHECKPOINTS) + 32 * first
    links: uint256 = 0
    if first != 0:
        links = leaves._word(checkpoints - 32)
    at: uint256 = leaves._tail(13)
    self._fold(links, at, leaves._length(13), leaves._word(checkpoints))
    word: uint256 = leaves._word(at + 32 * (position % GROUP))
    round: uint256 = rounds._round(rounds.clock)
    commitment: bytes32 = submissions._commitment(round, opening.root, opening.cid, opening.claim)
    different: uint256 = (convert(commitment, uint256) ^ word) & submissions.COMMITMENT
    assert different == 0, "challenges: not the update's opening"


@internal
@payable
def _weights(right: bytes32):
    """
    @notice Rules on the weights.
    @param right The digest of the samples that are handed in.
    """
    words: uint256 = leaves._tail(6)
    count: uint256 = leaves._length(6)
    last: uint256 = self._list(CHECKPOINTS)
    last += 32 * leaves._word(last - 32)
    self._fold(0, words, count, leaves._word(last - 32))
    accepted: uint256 = self._list(ACCEPTED)
    at: uint256 = leaves._tail(7) - 32
    end: uint256 = at + leaves._length(7)
    equal: bool = True
    for i: uint256 in range(count, bound=MAX_UPDATES):
        if (leaves._word(accepted + 32 * (i >> 8)) >> (i & 255)) & 1 == 1:
            at = unsafe_add(at, 4)
            equal = equal and at <= end
            equal = equal and leaves._word(at) & MASK32 == leaves._word(words + 32 * i) & MASK24
    assert equal and at == end, "challenges: not the accepted samples"
    self._rule(right != self._digest(WEIGHTS_WORD), WEIGHTS)


@internal
@payable
def _leaf(tree: uint256, leaf: uint256, content: bytes32):
    """
    @notice Rules on the length of a leaf.
    @param tree MODEL_TREE or ROWS_TREE.
    @param leaf Which leaf.
    @param content Its digest.
    """
    self._insist(leaf < leaves._leaves())
    depth: uint256 = leaves._depth(1, leaves._length(PROOFS))
    leaves._open(content, 9, leaves.ANY, leaf, leaves._tail(PROOFS), depth, self._root(tree))
    size: uint256 = terms.TERMS.leaf_lanes * MODEL_BYTES
    if tree == ROWS_TREE:
        size = self._accepted(MAX_UPDATES) * leaves._size()
    self._rule(leaves._length(9) != 1 + size, LEAF)


@internal
@view
def _fold(start: uint256, at: uint256, count: uint256, end: uint256):
    """
    @notice Insists that words of updates are those between two checkpoints.
    @param start The checkpoint before them.
    @param at Where they begin.
    @param count How many they are.
    @param end The checkpoint behind them.
    """
    links: uint256 = start
    for i: uint256 in range(count, bound=MAX_UPDATES):
        links = convert(keccak256(abi_encode(links, leaves._word(at + 32 * i))), uint256)
    assert links == end, "challenges: not the round's updates"


@internal
@view
def _accepted(before: uint256) -> uint256:
    """
    @notice How many updates before a position are accepted.
    @param before The position.
    """
    at: uint256 = self._list(ACCEPTED)
    left: uint256 = before
    count: uint256 = 0
    for i: uint256 in range(leaves._word(at - 32), bound=4):
        word: uint256 = leaves._word(at + 32 * i)
        if left < 256:
            count += verification._ones(word & ((1 << left) - 1))
            break
        count += verification._ones(word)
        left -= 256
    return count


@internal
@view
def _list(place: uint256) -> uint256:
    """
    @notice Where a list of the tally begins, behind its length.
    @param place Which word of the tally leads there.
    """
    tally: uint256 = leaves._tail(TALLY) + 32
    return tally + 32 + leaves._word(tally + 32 * place)


@internal
@view
def _digest(place: uint256) -> bytes32:
    """
    @notice A word of the candidate.
    @param place Which one.
    """
    return convert(leaves._head(place), bytes32)


@internal
@view
def _root(tree: uint256) -> bytes32:
    """
    @notice The root of one of the two trees of a proposal.
    @param tree MODEL_TREE or ROWS_TREE.
    """
    self._insist(tree == MODEL_TREE or tree == ROWS_TREE)
    return self._digest(tree)


@internal
@pure
def _insist(there: bool):
    """
    @notice Insists that what is shown is a place of the proposal.
    @param there Whether it is.
    """
    assert there, "challenges: no such place"
