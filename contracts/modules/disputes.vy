# pragma version 0.4.3
"""
@title disputes: what is kept back must be shown
@license Apache-2.0
@notice A challenge shows a place of the trees behind a proposal; who keeps these back cannot be
        challenged, nor who alone has an accepted update. So anybody may dispute one of the trees, or an
        accepted update, with a bond. In turn, somebody shows the nodes up to eight levels below the
        disputed one, and the challenger picks one of them, down to a leaf, whose bytes are shown. Whoever
        has the tree can answer. If nobody does in time, the proposal is refuted; if the challenger is
        silent, or the leaf is shown, the bond is lost and the round goes on, with time for the challenge
        that is possible now.
"""

from interfaces import IFederation
from modules import terms
from modules import treasury
from modules import leaves
from modules import rounds
from modules import registry
from modules import election
from modules import verification
from modules import proposals
from modules import tallies
from modules import challenges

uses: terms
uses: treasury
uses: leaves
uses: rounds
uses: registry
uses: election
uses: verification
uses: proposals
uses: tallies


DISPUTE: constant(uint256) = 6  # form
UPDATE_TREES: constant(uint256) = 2  # and the position of the update
LEVELS: constant(uint256) = 8  # that one answer shows
NODES: constant(uint256) = 256
UNOPENED: constant(uint256) = LEVELS + 2  # in `shown`: what is behind `rows` is due
CONTENT: constant(uint256) = 0  # word of the arguments that leads to the leaf

proposal: bytes32  # whose tree is disputed; empty if no dispute is open
challenger: address
answerer: address  # who answered last
height: uint256  # of the disputed node,
index: uint256  # its place among the nodes of that height
node: bytes32  # and its digest
shown: uint256  # how many levels below the node were shown, plus 1; 0 or UNOPENED if an answer is due
since: uint256
due: uint256  # the next move has to come before


@external
@payable
def dispute(root: bytes32, cid: bytes32, rows: bytes32, layer: bytes32, tree: uint256):
    """
    @notice Demands that a tree behind the proposal be shown, as far as the sender will ask for it.
    @param root Merkle root of the proposed model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    @param layer The layer that the leader showed.
    @param tree MODEL_TREE or ROWS_TREE.
    """
    assert tree <= challenges.ROWS_TREE, "disputes: no such tree"
    self._begin(keccak256(abi_encode(rounds._round(rounds.clock), root, cid, rows, layer)), tree)
    if tree == challenges.MODEL_TREE:
        self._move(self._depth(), root, 0)
    else:
        self._move(self._depth(), rows, UNOPENED)


@external
@payable
def dispute_update(
    root: bytes32,
    cid: bytes32,
    rows: bytes32,
    layer: bytes32,
    position: uint256,
    tally: Bytes[tallies.MAX_TALLY],
    opening: IFederation.Opening,
    group: DynArray[uint256, tallies.GROUP],
):
    """
    @notice Demands that an accepted update be shown: without its bytes nobody can tell whether the proposal
            is right.
    @param root Merkle root of the proposed model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    @param layer The layer that the leader showed.
    @param position The position of the update among the round's updates.
    @param tally The round's tally.
    @param opening What the update's commitment hides.
    @param group The words of the group of 32 updates (fewer at the end) that the position is in.
    """
    assert keccak256(tally) == verification.accepted, "challenges: not the round's tally"
    tallies._check_update(position, opening)
    proposal: bytes32 = keccak256(abi_encode(rounds._round(rounds.clock), root, cid, rows, layer))
    self._begin(proposal, UPDATE_TREES + position)
    self._move(self._depth(), opening.root, 0)


@external
def answer_rows(weights: bytes32, rows: bytes32):
    """
    @notice Shows the two digests behind the `rows` of a proposal; anybody may.
    @param weights The digest of the weights.
    @param rows The root of the rows tree.
    """
    self._answer(True, UNOPENED, keccak256(concat(challenges.ROWS_PREFIX, weights, rows)))
    self._move(self.height, rows, 1)
    log IFederation.RowsShown(
        round=rounds._round(rounds.clock), answerer=msg.sender, weights=weights, rows=rows
    )


@external
def answer(nodes: DynArray[bytes32, NODES]):
    """
    @notice Shows all nodes, but for padding, so many levels below the disputed one; anybody may.
    @param nodes Their digests: eight levels below, or the leaves' if these are nearer.
    """
    height: uint256 = self.height
    levels: uint256 = min(LEVELS, height)
    there: uint256 = ((leaves._leaves() - 1) >> (height - levels)) + 1 - (self.index << levels)
    assert len(nodes) == min(there, 1 << levels), "disputes: not all of its nodes"
    self._answer(height != 0, 0, self._top(nodes, height - levels, levels))
    self._move(height, self.node, 1 + levels)
    log IFederation.NodesShown(round=rounds._round(rounds.clock), answerer=msg.sender, nodes=nodes)


@external
def answer_leaf(content: Bytes[challenges.MAX_ROW]):
    """
    @notice Shows the bytes of the disputed leaf, which ends the dispute; anybody may.
    @param content The leaf, behind its zero byte.
    """
    self._answer(self.height == 0, 0, keccak256(content))
    leaves._content(CONTENT, leaves.ANY)
    log IFederation.LeafShown(round=rounds._round(rounds.clock), answerer=msg.sender, content=content)
    self._lost()


@external
def pursue(child: uint256, digest: bytes32, proof: DynArray[bytes32, LEVELS]):
    """
    @notice Picks the node to go on with, among those that were shown.
    @param child Its place among them.
    @param digest Its digest.
    @param proof Its siblings up to the disputed node, the lowest first.
    """
    shown: uint256 = self._check()
    assert shown % UNOPENED != 0, "disputes: not what is due"
    assert msg.sender == self.challenger, "disputes: not the challenger"
    levels: uint256 = shown - 1
    assert len(proof) == levels, "disputes: proof of another length"
    height: uint256 = self.height - levels
    index: uint256 = (self.index << levels) + child
    real: bool = child >> levels == 0 and index << height < leaves._leaves()
    assert real, "disputes: no such node"
    assert leaves._above(digest, child, proof) == self.node, "disputes: not a node that was shown"
    self.index = index
    self._move(height, digest, 0)
    log IFederation.Pursued(round=rounds._round(rounds.clock), challenger=msg.sender, child=child, digest=digest)


@external
def expire(voters: DynArray[uint256, 64], bodies: DynArray[bytes32, 64]):
    """
    @notice Ends a dispute in which the next move did not come in time, or whose proposal another has
            refuted meanwhile; anybody may.
    @param voters Who voted in the round, in the order of unveiling; needed where an answer did not come.
    @param bodies What they voted.
    """
    proposal: bytes32 = self.proposal
    assert proposal != empty(bytes32), "disputes: none is open"
    if proposal != proposals.proposal:
        self._end(empty(address))
        return
    assert block.timestamp >= self.due, "disputes: not yet due"
    if self.shown % UNOPENED != 0:
        self._lost()
        return
    assert verification._chain(voters, bodies) == verification.votes, "proposals: not the votes of this round"
    round: uint256 = rounds._round(rounds.clock)
    log IFederation.Refuted(
        round=round,
        leader=registry.miners[election.lead & election.MASK8],
        challenger=self.challenger,
        form=DISPUTE,
    )
    proposals._refuted(self.challenger, 0)
    if not election._next(rounds.clock, election.lead, voters):
        rounds._void(round, rounds.NO_LEADER)
    self._end(empty(address))


@internal
@payable
def _begin(proposal: bytes32, tree: uint256):
    """
    @notice Takes the bond of a dispute about the proposal that stands; the round waits.
    @param proposal The digest of the proposal that the sender means.
    @param tree MODEL_TREE, ROWS_TREE, or UPDATE_TREES and the position of an accepted update.
    """
    clock: uint256 = rounds._enter(rounds.ATTEST)
    assert msg.value == terms.TERMS.challenge_bond, "disputes: not the bond"
    assert block.timestamp < (clock >> rounds.DEADLINE) & rounds.MASK36, "disputes: too late"
    assert election.lead & election.HELD == 0, "disputes: one is open"
    assert proposal == proposals.proposal, "disputes: not what was proposed"
    if self.proposal != empty(bytes32):
        self._end(empty(address))
    treasury.books += msg.value << treasury.OWED
    proposals._hold()
    self.proposal = proposal
    self.challenger = msg.sender
    self.answerer = empty(address)
    self.index = 0
    self.since = block.timestamp
    log IFederation.Disputed(round=rounds._round(clock), challenger=msg.sender, tree=tree)


@internal
def _move(height: uint256, node: bytes32, shown: uint256):
    """
    @notice Where a dispute stands after a move; the next one is due from now on.
    @param height The height of the disputed node.
    @param node Its digest.
    @param shown How many levels below it were shown, plus 1; 0 or UNOPENED if an answer is due.
    """
    self.height = height
    self.node = node
    self.shown = shown
    self.due = block.timestamp + terms.TERMS.answer_seconds


@internal
@view
def _check() -> uint256:
    """
    @notice What was shown, if the dispute goes on.
    """
    proposal: bytes32 = self.proposal
    assert proposal != empty(bytes32) and proposal == proposals.proposal, "disputes: none is open"
    assert block.timestamp < self.due, "disputes: move too late"
    return self.shown


@internal
def _answer(fits: bool, kind: uint256, digest: bytes32):
    """
    @notice Takes an answer, if this one is due.
    @param fits Whether the disputed node has the height for it.
    @param kind 0, or UNOPENED.
    @param digest What was shown comes to.
    """
    assert self._check() == kind and fits, "disputes: not what is due"
    assert digest == self.node, "disputes: not the disputed node"
    self.answerer = msg.sender


@internal
def _lost():
    """
    @notice Ends a dispute that the challenger has lost; the round goes on.
    """
    proposals._let_go(self.since)
    self._end(self.answerer)


@internal
def _end(answerer: address):
    """
    @notice Ends a dispute. The bond goes back, or half of it to the last who answered and the rest to the
            pool, so that nobody disputes and answers in turn for nothing.
    @param answerer Who gets half of it; nobody if it goes back.
    """
    bond: uint256 = terms.TERMS.challenge_bond
    challenger: address = self.challenger
    if answerer == empty(address):
        treasury.credits[challenger] += bond
    else:
        treasury.credits[answerer] += bond // 2
        rest: uint256 = bond - bond // 2
        treasury.books = treasury.books - (rest << treasury.OWED) + rest
    log IFederation.DisputeEnded(
        round=rounds._round(rounds.clock), challenger=challenger, answerer=answerer, proposal=self.proposal
    )
    self.proposal = empty(bytes32)


@internal
@view
def _depth() -> uint256:
    """
    @notice The height of every tree.
    """
    last: uint256 = leaves._leaves() - 1
    depth: uint256 = 0
    for _: uint256 in range(leaves.MAX_DEPTH):
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
    for _: uint256 in range(height, bound=leaves.MAX_DEPTH):
        padding = keccak256(concat(leaves.NODE, padding, padding))
    for _: uint256 in range(levels, bound=LEVELS):
        for i: uint256 in range(width // 2, bound=128):
            level[i] = keccak256(concat(leaves.NODE, level[2 * i], level[2 * i + 1]))
        if width % 2 == 1:
            level[width // 2] = keccak256(concat(leaves.NODE, level[width - 1], padding))
        width = (width + 1) // 2
        padding = keccak256(concat(leaves.NODE, padding, padding))
    return level[0]
