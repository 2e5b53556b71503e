# pragma version 0.4.3
"""
@title challenges: one honest party is enough
@license Apache-2.0
@notice Anybody shows one place at which a proposal is wrong, and the contract computes that place
        anew. It has to be announced (`docket`): a sealed hash binds sender, proposal and place, and is opened later, so that
        nobody can copy what is found out of a transaction that waits. In a dispute that has come to a leaf, the challenger rules
        at that leaf without announcing. What is shown must open: the proposal and the tally to their digests, every leaf to its
        root. Then either the place is wrong, and the proposal is refuted, or it is right, and the
        bond is lost. Leaves are handed in as they are hashed, behind their zero byte; the
        tally as the bytes whose hash is the accepted set.
@dev    A row may be longer than everything else together, and memory is paid for by its highest word.
        So the external functions keep no variables behind their arguments: they hash them, and the
        internal functions read single words where they stand in the calldata. The first arguments
        are the same everywhere: words 0 to 2 are the candidate, word 3 is the right to challenge, the salt of an
        announcement or the number of a dispute, word 4 leads to the tally.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import leaves
from modules import aggregation
from modules import rounds
from modules import tallies
from modules import verification
from modules import proposals
from modules import docket
from modules import refutations
from modules import disputes

uses: terms
uses: leaves
uses: aggregation
uses: tallies
uses: rounds
uses: verification
uses: proposals
uses: docket
uses: refutations
uses: disputes


SUM: constant(uint256) = 1  # forms
ROW: constant(uint256) = 2
WEIGHTS: constant(uint256) = 3
LEAF: constant(uint256) = 4
PADDING: constant(uint256) = 5

MAX_NUMBER: constant(uint256) = 2**64  # below it, what gives the right to challenge is the number of a dispute

RIGHT: constant(uint256) = 3  # word of the arguments
SAMPLES: constant(uint256) = 12  # words that lead to what has no fixed length: in challenge_sum,
BEFORE: constant(uint256) = 13
AFTER: constant(uint256) = 14
SUM_ROW: constant(uint256) = 15
PART: constant(uint256) = 14  # challenge_row,
ROW_ROW: constant(uint256) = 15
UPDATES: constant(uint256) = 5  # challenge_weights,
RIGHT_SAMPLES: constant(uint256) = 6
CONTENT: constant(uint256) = 8  # challenge_leaf

MAX_LEAF: constant(uint256) = 4_097  # 1,024 lanes of a model behind a zero
MAX_SAMPLES: constant(uint256) = 4_096
MODEL_BYTES: constant(uint256) = 4


@external
def challenge_sum(
    candidate: IFederation.Candidate,
    right: uint256,
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
    row: Bytes[disputes.MAX_ROW],
):
    """
    @notice Wrong arithmetic: a lane of the new model is not what its row and the old model come to.
    @param candidate What was proposed.
    @param right The salt of the announcement, or the number of the dispute.
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
    self._open(candidate, right, keccak256(tally), SUM, leaf, lane)
    leaves._prove(keccak256(row), leaf, row_proof, candidate.rows)
    leaves._prove(keccak256(before), leaf, before_proof, proposals.root)
    leaves._prove(keccak256(after), leaf, after_proof, candidate.root)
    self._sum(leaf, lane, low, high, candidate.weights, keccak256(samples))


@external
def challenge_row(
    candidate: IFederation.Candidate,
    right: uint256,
    tally: Bytes[tallies.MAX_TALLY],
    opening: IFederation.Opening,
    group: DynArray[uint256, constants.GROUP],
    position: uint256,
    row_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    part_proof: DynArray[bytes32, leaves.MAX_DEPTH],
    leaf: uint256,
    word: uint256,
    part: Bytes[MAX_LEAF],
    row: Bytes[disputes.MAX_ROW],
):
    """
    @notice Wrong row: a word of it is not what the accepted update has there.
    @param candidate What was proposed.
    @param right The salt of the announcement, or the number of the dispute.
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
    self._open(candidate, right, keccak256(tally), ROW, leaf, position << 16 | word)
    tallies._check_update(position, opening)
    leaves._prove(keccak256(row), leaf, row_proof, candidate.rows)
    leaves._prove(keccak256(part), leaf, part_proof, opening.root)
    self._row(word, position)


@external
def challenge_weights(
    candidate: IFederation.Candidate,
    right: uint256,
    tally: Bytes[tallies.MAX_TALLY],
    updates: DynArray[uint256, constants.MAX_UPDATES],
    samples: Bytes[MAX_SAMPLES],
):
    """
    @notice Wrong weights: they are not those of the accepted updates.
    @param candidate What was proposed.
    @param right The salt of the announcement, or the number of the dispute.
    @param tally The round's tally.
    @param updates The round's words of the chain of updates.
    @param samples The weights of the accepted ones, four bytes each.
    """
    self._open(candidate, right, keccak256(tally), WEIGHTS, 0, 0)
    self._weights(candidate.weights, keccak256(samples))


@external
def challenge_leaf(
    candidate: IFederation.Candidate,
    right: uint256,
    tally: Bytes[tallies.MAX_TALLY],
    proof: DynArray[bytes32, leaves.MAX_DEPTH],
    tree: uint256,
    leaf: uint256,
    content: Bytes[disputes.MAX_ROW],
):
    """
    @notice A leaf of another length than all leaves of its tree have: an update too few, or too many.
    @param candidate What was proposed.
    @param right The salt of the announcement, or the number of the dispute.
    @param tally The round's tally.
    @param proof The leaf's siblings, the lowest first.
    @param tree MODEL_TREE or ROWS_TREE.
    @param leaf Which leaf.
    @param content The leaf.
    """
    self._open(candidate, right, keccak256(tally), LEAF, leaf, tree)
    assert tree <= disputes.ROWS_TREE, "challenges: no such tree"
    leaves._prove(keccak256(content), leaf, proof, candidate.rows if tree == disputes.ROWS_TREE else candidate.root)
    self._leaf(tree)


@external
def challenge_padding(
    candidate: IFederation.Candidate,
    right: uint256,
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
    @param right The salt of the announcement, or the number of the dispute.
    @param tally The round's tally.
    @param proof The node's siblings, the lowest first.
    @param tree MODEL_TREE or ROWS_TREE.
    @param height The node's height above the leaves.
    @param index Its place among the nodes of that height.
    @param digest Its digest.
    """
    self._open(candidate, right, keccak256(tally), PADDING, index, tree << 8 | height)
    assert tree <= disputes.ROWS_TREE, "challenges: no such tree"
    beyond: bool = index >> len(proof) == 0 and index << height >= leaves._leaves()
    assert beyond, "challenges: no such place"
    leaves._check_depth(height + len(proof))
    root: bytes32 = candidate.rows if tree == disputes.ROWS_TREE else candidate.root
    assert leaves._above(digest, index, proof) == root, "challenges: not in the tree"
    padding: bytes32 = empty(bytes32)
    for _: uint256 in range(height, bound=leaves.MAX_DEPTH):
        padding = keccak256(concat(leaves.NODE, padding, padding))
    self._rule(digest != padding, PADDING)


@internal
def _open(
    candidate: IFederation.Candidate, right: uint256, tally: bytes32, form: uint256, leaf: uint256, place: uint256
):
    """
    @notice Insists that the sender may challenge this place, and that proposal and tally are those of the round.
    @param candidate What was proposed.
    @param right The salt of the announcement, or the number of the dispute.
    @param tally The digest of the round's tally.
    @param form The form of the challenge.
    @param leaf Which leaf.
    @param place Which place of it.
    """
    clock: uint256 = rounds._enter(constants.ATTEST)
    rows: bytes32 = keccak256(concat(disputes.ROWS_PREFIX, candidate.weights, candidate.rows))
    digest: uint256 = proposals._digest(rounds._round(clock), candidate.root, rows)
    proposals._check(digest)
    assert tally == verification.accepted, "challenges: not the round's tally"
    if right >= MAX_NUMBER:
        docket._unseal(clock, digest, form, leaf, place, right)
    else:
        self._check_dispute(right, form, leaf)


@internal
@view
def _check_dispute(number: uint256, form: uint256, leaf: uint256):
    """
    @notice Insists that the sender may rule in its dispute by such a challenge: at the leaf that was shown, or on the
            weights when these were shown with the rows.
    @param number The dispute.
    @param form The form of the challenge.
    @param leaf Which leaf.
    """
    dispute: IFederation.Dispute = disputes._turn(number)
    if form == WEIGHTS:
        assert dispute.tree == disputes.ROWS_TREE, "challenges: not what is disputed"
    else:
        at_leaf: bool = dispute.state == disputes.RULE and dispute.index == leaf
        assert form != PADDING and at_leaf, "challenges: not what is disputed"


@internal
def _rule(wrong: bool, form: uint256):
    """
    @notice Ends a challenge: the proposal is refuted, or the bond is lost.
    @param wrong Whether the shown place is wrong.
    @param form The form of the challenge.
    """
    right: uint256 = leaves._head(RIGHT)
    if not wrong:
        log IFederation.ChallengeFailed(round=rounds._round(rounds.clock), challenger=msg.sender, form=form)
        if right < MAX_NUMBER:
            disputes._lose(right)
        else:
            docket._end_opened(False)
        return
    voters: DynArray[uint256, constants.MAX_MINERS] = []
    at: uint256 = tallies._list(tallies.VOTERS)
    for i: uint256 in range(leaves._word(at - 32), bound=constants.MAX_MINERS):
        voters.append(leaves._word(at + 32 * i))
    if right < MAX_NUMBER:
        disputes._win(right, form, voters)
    else:
        docket._end_opened(True)
        refutations._refute(msg.sender, form, voters)


@internal
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
    count: uint256 = tallies._accepted(constants.MAX_UPDATES)
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
def _row(word: uint256, position: uint256):
    """
    @notice Rules on one word of a row.
    @param word Which word of the update's leaf.
    @param position The position of the update.
    """
    size: uint256 = leaves._size()
    assert word < size // 32, "challenges: no such place"
    parts: uint256 = leaves._content(ROW_ROW, tallies._accepted(constants.MAX_UPDATES) * size)
    own: uint256 = leaves._content(PART, size)
    shown: uint256 = leaves._word(parts + tallies._accepted(position) * size + word * 32)
    self._rule(shown != leaves._word(own + word * 32), ROW)


@internal
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
    levels: uint256 = tallies._list(tallies.LEVEL_WORDS)
    cap: uint256 = tallies._cap()
    four: uint256 = 0
    at: uint256 = leaves._tail(RIGHT_SAMPLES) - 32
    end: uint256 = at + leaves._length(RIGHT_SAMPLES)
    equal: bool = True
    for i: uint256 in range(count, bound=constants.MAX_UPDATES):
        if i & 63 == 0:
            four = leaves._word(levels + (i >> 6 << 5))
        level: uint256 = four & 15
        four >>= 4
        if level != 0:
            weight: uint256 = min(leaves._word(words + 32 * i) & constants.MASK24, cap) * level * level
            at = unsafe_add(at, 4)
            equal = equal and at <= end
            equal = equal and leaves._word(at) & constants.MASK32 == weight
    assert equal and at == end, "challenges: not the weights of the accepted updates"
    self._rule(right != proposed, WEIGHTS)


@internal
def _leaf(tree: uint256):
    """
    @notice Rules on the length of a leaf.
    @param tree MODEL_TREE or ROWS_TREE.
    """
    leaves._content(CONTENT, leaves.ANY)
    size: uint256 = terms.TERMS.leaf_lanes * MODEL_BYTES
    if tree == disputes.ROWS_TREE:
        size = tallies._accepted(constants.MAX_UPDATES) * leaves._size()
    self._rule(leaves._length(CONTENT) != 1 + size, LEAF)
