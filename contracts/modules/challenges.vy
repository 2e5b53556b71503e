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
        are the same everywhere: words 0 to 4 are the candidate, word 5 leads to the tally.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import treasury
from modules import leaves
from modules import aggregation
from modules import rounds
from modules import tallies
from modules import election
from modules import verification
from modules import proposals

uses: terms
uses: registry
uses: treasury
uses: leaves
uses: aggregation
uses: tallies
uses: rounds
uses: election
uses: verification
uses: proposals


SUM: constant(uint256) = 1  # forms
ROW: constant(uint256) = 2
WEIGHTS: constant(uint256) = 3
LEAF: constant(uint256) = 4
PADDING: constant(uint256) = 5

ROWS_PREFIX: constant(bytes1) = 0x02  # what stands before weights and rows when they are hashed
MODEL_TREE: constant(uint256) = 0
ROWS_TREE: constant(uint256) = 1

SAMPLES: constant(uint256) = 13  # words that lead to what has no fixed length: in challenge_sum,
BEFORE: constant(uint256) = 14
AFTER: constant(uint256) = 15
SUM_ROW: constant(uint256) = 16
PART: constant(uint256) = 15  # challenge_row,
ROW_ROW: constant(uint256) = 16
UPDATES: constant(uint256) = 6  # challenge_weights,
RIGHT_SAMPLES: constant(uint256) = 7
CONTENT: constant(uint256) = 9  # challenge_leaf

MAX_LEAF: constant(uint256) = 4_097  # 1,024 lanes of a model behind a zero
MAX_ROW: constant(uint256) = 120_833  # as the terms allow, behind a zero
MAX_SAMPLES: constant(uint256) = 4_096
MODEL_BYTES: constant(uint256) = 4
MASK24: constant(uint256) = 2**24 - 1
MASK32: constant(uint256) = 2**32 - 1


@external
@payable
def challenge_sum(
    candidate: IFederation.Candidate,
    tally: Bytes[tallies.MAX_TALLY],
    row_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    before_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    after_proof: DynArray[bytes32, leaves.MAX_DEPTH],
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
    @param row_proof The siblings of the row, the lowest first.
    @param before_proof Those of the old model's leaf.
    @param after_proof Those of the new model's leaf.
    @param leaf Which leaf.
    @param lane Which lane of it.
    @param low The lowest value that the median or the trimmed mean keeps.
    @param high The highest one.
    @param samples The proposed weights, four bytes for each accepted update.
    @param before The old model's leaf.
    @param after The new model's leaf.
    @param row The leaf of the rows tree.
    """
    self._open(candidate, keccak256(tally))
    leaves._prove(keccak256(row), leaf, row_proof, candidate.rows)
    leaves._prove(keccak256(before), leaf, before_proof, proposals.root)
    leaves._prove(keccak256(after), leaf, after_proof, candidate.root)
    self._sum(leaf, lane, low, high, candidate.weights, keccak256(samples))


@external
@payable
def challenge_row(
    candidate: IFederation.Candidate,
    tally: Bytes[tallies.MAX_TALLY],
    opening: IFederation.Opening,
    group: DynArray[uint256, tallies.GROUP],
    position: uint256,
    row_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    part_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    leaf: uint256,
    word: uint256,
    part: Bytes[MAX_LEAF],
    row: Bytes[MAX_ROW],
):
    """
    @notice Wrong row: a word of it is not what the accepted update has there.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param opening What the update's commitment hides.
    @param group The words of the group of 32 updates (fewer at the end) that the position is in.
    @param position The position of the update among the round's updates.
    @param row_proof The siblings of the row, the lowest first.
    @param part_proof Those of the update's leaf.
    @param leaf Which leaf.
    @param word Which word of the update's leaf.
    @param part The update's leaf.
    @param row The leaf of the rows tree.
    """
    self._open(candidate, keccak256(tally))
    tallies._check_update(position, opening)
    leaves._prove(keccak256(row), leaf, row_proof, candidate.rows)
    leaves._prove(keccak256(part), leaf, part_proof, opening.root)
    self._row(word, position)


@external
@payable
def challenge_weights(
    candidate: IFederation.Candidate,
    tally: Bytes[tallies.MAX_TALLY],
    updates: DynArray[uint256, tallies.MAX_UPDATES],
    samples: Bytes[MAX_SAMPLES],
):
    """
    @notice Wrong weights: they are not the samples of the accepted updates.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param updates The round's words of the chain of updates.
    @param samples The samples of the accepted ones, four bytes each.
    """
    self._open(candidate, keccak256(tally))
    self._weights(candidate.weights, keccak256(samples))


@external
@payable
def challenge_leaf(
    candidate: IFederation.Candidate,
    tally: Bytes[tallies.MAX_TALLY],
    proof: DynArray[bytes32, leaves.MAX_DEPTH],
    tree: uint256,
    leaf: uint256,
    content: Bytes[MAX_ROW],
):
    """
    @notice A leaf of another length than all leaves of its tree have: an update too few, or too many.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proof The leaf's siblings, the lowest first.
    @param tree MODEL_TREE or ROWS_TREE.
    @param leaf Which leaf.
    @param content The leaf.
    """
    self._open(candidate, keccak256(tally))
    assert tree <= ROWS_TREE, "challenges: no such tree"
    leaves._prove(keccak256(content), leaf, proof, candidate.rows if tree == ROWS_TREE else candidate.root)
    self._leaf(tree)


@external
@payable
def challenge_padding(
    candidate: IFederation.Candidate,
    tally: Bytes[tallies.MAX_TALLY],
    proof: DynArray[bytes32, leaves.MAX_DEPTH],
    tree: uint256,
    height: uint256,
    index: uint256,
    digest: bytes32,
):
    """
    @notice A node above nothing but padding that has another digest than padding has.
    @param candidate What was proposed.
    @param tally The round's tally.
    @param proof The node's siblings, the lowest first.
    @param tree MODEL_TREE or ROWS_TREE.
    @param height The node's height above the leaves.
    @param index Its place among the nodes of that height.
    @param digest Its digest.
    """
    self._open(candidate, keccak256(tally))
    assert tree <= ROWS_TREE, "challenges: no such tree"
    beyond: bool = index >> len(proof) == 0 and index << height >= leaves._leaves()
    assert beyond, "challenges: no such place"
    leaves._check_depth(height + len(proof))
    root: bytes32 = candidate.rows if tree == ROWS_TREE else candidate.root
    assert leaves._above(digest, index, proof) == root, "challenges: not in the tree"
    padding: bytes32 = empty(bytes32)
    for _: uint256 in range(height, bound=leaves.MAX_DEPTH):
        padding = keccak256(concat(leaves.NODE, padding, padding))
    self._rule(digest != padding, PADDING)


@internal
@payable
def _open(candidate: IFederation.Candidate, tally: bytes32):
    """
    @notice Takes the bond, and insists that proposal and tally are those of the round.
    @param candidate What was proposed.
    @param tally The digest of the round's tally.
    """
    clock: uint256 = rounds._enter(rounds.ATTEST)
    assert msg.value == terms.TERMS.challenge_bond, "challenges: not the bond"
    rows: bytes32 = keccak256(concat(ROWS_PREFIX, candidate.weights, candidate.rows))
    digest: bytes32 = keccak256(
        abi_encode(rounds._round(clock), candidate.root, candidate.cid, rows, candidate.layer)
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
    leader: address = registry.miners[election.lead & election.MASK8]
    log IFederation.Refuted(round=round, leader=leader, challenger=msg.sender, form=form)
    voters: DynArray[uint256, 64] = []
    at: uint256 = tallies._list(tallies.VOTERS)
    for i: uint256 in range(leaves._word(at - 32), bound=64):
        voters.append(leaves._word(at + 32 * i))
    proposals._refuted(msg.sender, msg.value)
    clock: uint256 = rounds.clock
    if not election._next(clock, election.lead, voters):
        # For `advance` to end: to open a round takes code that is not here.
        rounds.clock = rounds._failed(clock, rounds.NO_LEADER)


@internal
@payable
def _sum(leaf: uint256, lane: uint256, low: int256, high: int256, proposed: bytes32, weights: bytes32):
    """
    @notice Rules on one lane of the new model.
    @param leaf Which leaf.
    @param lane Which lane of it.
    @param low The lowest value that counts, where there are bounds.
    @param high The highest one.
    @param proposed The digest of the proposed weights.
    @param weights The digest of the weights that are handed in.
    """
    assert lane < terms.TERMS.leaf_lanes, "challenges: no such place"
    count: uint256 = tallies._accepted(tallies.MAX_UPDATES)
    same: bool = weights == proposed and leaves._length(SAMPLES) == 4 * count
    assert same, "challenges: not the proposed weights"
    parts: uint256 = leaves._content(SUM_ROW, count * leaves._size())
    old: uint256 = leaves._content(BEFORE, terms.TERMS.leaf_lanes * MODEL_BYTES)
    new: uint256 = leaves._content(AFTER, terms.TERMS.leaf_lanes * MODEL_BYTES)
    right: int256 = 0
    if leaf * terms.TERMS.leaf_lanes + lane < terms.TERMS.parameters:
        right = leaves._lane(old + lane * MODEL_BYTES, 32)
        right += aggregation._step(parts, lane, count, leaves._tail(SAMPLES), low, high)
        right = min(max(right, aggregation.LEAST), aggregation.MOST)
    self._rule(leaves._lane(new + lane * MODEL_BYTES, 32) != right, SUM)


@internal
@payable
def _row(word: uint256, position: uint256):
    """
    @notice Rules on one word of a row.
    @param word Which word of the update's leaf.
    @param position The position of the update.
    """
    size: uint256 = leaves._size()
    assert word < size // 32, "challenges: no such place"
    parts: uint256 = leaves._content(ROW_ROW, tallies._accepted(tallies.MAX_UPDATES) * size)
    own: uint256 = leaves._content(PART, size)
    shown: uint256 = leaves._word(parts + tallies._accepted(position) * size + word * 32)
    self._rule(shown != leaves._word(own + word * 32), ROW)


@internal
@payable
def _weights(proposed: bytes32, right: bytes32):
    """
    @notice Rules on the weights.
    @param proposed Their digest.
    @param right The digest of the samples that are handed in.
    """
    words: uint256 = leaves._tail(UPDATES)
    count: uint256 = leaves._length(UPDATES)
    last: uint256 = tallies._list(tallies.CHECKPOINTS)
    last += 32 * leaves._word(last - 32)
    tallies._fold(0, words, count, leaves._word(last - 32))
    accepted: uint256 = tallies._list(tallies.ACCEPTED)
    at: uint256 = leaves._tail(RIGHT_SAMPLES) - 32
    end: uint256 = at + leaves._length(RIGHT_SAMPLES)
    equal: bool = True
    for i: uint256 in range(count, bound=tallies.MAX_UPDATES):
        if (leaves._word(accepted + 32 * (i >> 8)) >> (i & 255)) & 1 == 1:
            at = unsafe_add(at, 4)
            equal = equal and at <= end
            equal = equal and leaves._word(at) & MASK32 == leaves._word(words + 32 * i) & MASK24
    assert equal and at == end, "challenges: not the accepted samples"
    self._rule(right != proposed, WEIGHTS)


@internal
@payable
def _leaf(tree: uint256):
    """
    @notice Rules on the length of a leaf.
    @param tree MODEL_TREE or ROWS_TREE.
    """
    leaves._content(CONTENT, leaves.ANY)
    size: uint256 = terms.TERMS.leaf_lanes * MODEL_BYTES
    if tree == ROWS_TREE:
        size = tallies._accepted(tallies.MAX_UPDATES) * leaves._size()
    self._rule(leaves._length(CONTENT) != 1 + size, LEAF)
