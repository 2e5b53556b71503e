# pragma version 0.4.3
"""
@title disputes: what is kept back must be shown
@license Apache-2.0
@notice A challenge shows a place of the trees behind a proposal; who keeps these back cannot be
        challenged, nor who alone has an accepted update. So anybody may dispute one of the trees, or an
        accepted update, with a bond, and any number of disputes run side by side. In turn, somebody shows the
        nodes up to eight levels below the disputed one, and the challenger picks one of them, down to a leaf,
        whose bytes are shown; then the challenger alone rules, by a challenge at that leaf. Whoever has the
        tree can answer. If nobody does in time, the proposal is refuted; if the challenger is silent, or
        what it rules is right, its bond is lost. The challenger has the time of one answer for all its moves.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import treasury
from modules import leaves
from modules import rounds
from modules import registry
from modules import election
from modules import verification
from modules import proposals
from modules import docket
from modules import refutations
from modules import tallies

uses: terms
uses: treasury
uses: leaves
uses: rounds
uses: registry
uses: election
uses: verification
uses: proposals
uses: docket
uses: refutations
uses: tallies


MODEL_TREE: constant(uint256) = 0
ROWS_TREE: constant(uint256) = 1
UPDATE_TREES: constant(uint256) = 2  # and the position of the update
ROWS_PREFIX: constant(bytes1) = 0x02  # what stands before weights and rows when they are hashed
MAX_ROW: constant(uint256) = 120_833  # as the terms allow, behind a zero
CONTENT: constant(uint256) = 1  # word of the arguments that leads to the leaf
MAX_OPEN: constant(uint256) = 4_000  # about one proposal, more than anybody pays for

ROWS: constant(uint256) = 1  # states: what is behind `rows` is due, and nodes with it;
ANSWER: constant(uint256) = 2  # nodes or a leaf are due;
PICK: constant(uint256) = 3  # the challenger picks a node,
RULE: constant(uint256) = 4  # or shows the place that is wrong


disputes: HashMap[uint256, IFederation.Dispute]
dispute_count: uint256


@external
@payable
def dispute(root: bytes32, rows: bytes32, tree: uint256) -> uint256:
    """
    @notice Demands that a tree behind the proposal be shown, as far as the sender will ask for it.
    @param root Merkle root of the proposed model.
    @param rows What stands for the accepted updates, row by row.
    @param tree MODEL_TREE or ROWS_TREE.
    @return The number of the dispute.
    """
    assert tree <= ROWS_TREE, "disputes: no such tree"
    clock: uint256 = docket._open_window()
    digest: uint256 = proposals._digest(rounds._round(clock), root, rows)
    if tree == MODEL_TREE:
        return self._begin(clock, digest, tree, root, ANSWER)
    return self._begin(clock, digest, tree, rows, ROWS)


@external
@payable
def dispute_update(
    accepted: bytes32,
    root: bytes32,
    rows: bytes32,
    position: uint256,
    tally: Bytes[tallies.MAX_TALLY],
    opening: IFederation.Opening,
    group: DynArray[uint256, constants.GROUP],
) -> uint256:
    """
    @notice Demands that an accepted update be shown: without its bytes nobody can tell whether the proposal
            is right.
    @param accepted The accepted set, the digest of the tally.
    @param root Merkle root of the proposed model.
    @param rows What stands for the accepted updates, row by row.
    @param position The position of the update among the round's updates.
    @param tally The round's tally.
    @param opening What the update's commitment hides.
    @param group The words of the group of 32 updates (fewer at the end) that the position is in.
    @return The number of the dispute.
    """
    clock: uint256 = docket._open_window()
    assert accepted == verification.accepted, "proposals: another accepted set"
    assert keccak256(tally) == accepted, "challenges: not the round's tally"
    tallies._check_update(position, opening)
    digest: uint256 = proposals._digest(rounds._round(clock), root, rows)
    return self._begin(clock, digest, UPDATE_TREES + position, opening.root, ANSWER)


@external
def answer_rows(number: uint256, weights: bytes32, rows: bytes32):
    """
    @notice Shows the two digests behind the `rows` of a proposal; anybody may. The nodes below are due at the same time.
    @param number The dispute.
    @param weights The digest of the weights.
    @param rows The root of the rows tree.
    """
    dispute: IFederation.Dispute = self._answer(number, ROWS, keccak256(concat(ROWS_PREFIX, weights, rows)))
    self.disputes[number].state = ANSWER
    self.disputes[number].node = rows
    log IFederation.RowsShown(
        round=dispute.proposal >> 8, answerer=msg.sender, number=number, weights=weights, rows=rows
    )


@external
def answer(number: uint256, nodes: DynArray[bytes32, leaves.NODES]):
    """
    @notice Shows all nodes, but for padding, so many levels below the disputed one; anybody may.
    @param number The dispute.
    @param nodes Their digests: eight levels below, or the leaves' if these are nearer.
    """
    height: uint256 = self.disputes[number].height
    levels: uint256 = min(leaves.LEVELS, height)
    below: uint256 = ((leaves._leaves() - 1) >> (height - levels)) + 1
    there: uint256 = below - (self.disputes[number].index << levels)
    assert len(nodes) == min(there, 1 << levels), "disputes: not all of its nodes"
    assert height != 0, "disputes: not what is due"
    dispute: IFederation.Dispute = self._answer(number, ANSWER, leaves._top(nodes, height - levels, levels))
    self.disputes[number].state = PICK
    self.disputes[number].levels = levels
    self._move(number)
    log IFederation.NodesShown(
        round=dispute.proposal >> 8, answerer=msg.sender, number=number, nodes=nodes
    )


@external
def answer_leaf(number: uint256, content: Bytes[MAX_ROW]):
    """
    @notice Shows the bytes of the disputed leaf; anybody may.
    @param number The dispute.
    @param content The leaf, behind its zero byte.
    """
    assert self.disputes[number].height == 0, "disputes: not what is due"
    dispute: IFederation.Dispute = self._answer(number, ANSWER, keccak256(content))
    leaves._content(CONTENT, leaves.ANY)
    self.disputes[number].state = RULE
    self._move(number)
    log IFederation.LeafShown(
        round=dispute.proposal >> 8, answerer=msg.sender, number=number, content=content
    )


@external
def pursue(number: uint256, child: uint256, digest: bytes32, proof: DynArray[bytes32, leaves.LEVELS]):
    """
    @notice Picks the node to go on with, among those that were shown.
    @param number The dispute.
    @param child Its place among them.
    @param digest Its digest.
    @param proof Its siblings up to the disputed node, the lowest first.
    """
    dispute: IFederation.Dispute = self._turn(number)
    assert dispute.state == PICK, "disputes: not what is due"
    assert len(proof) == dispute.levels, "disputes: proof of another length"
    height: uint256 = dispute.height - dispute.levels
    index: uint256 = (dispute.index << dispute.levels) + child
    real: bool = child >> dispute.levels == 0 and index << height < leaves._leaves()
    assert real, "disputes: no such node"
    assert leaves._above(digest, child, proof) == dispute.node, "disputes: not a node that was shown"
    self.disputes[number].state = ANSWER
    self.disputes[number].height = height
    self.disputes[number].index = index
    self.disputes[number].node = digest
    self.disputes[number].left = dispute.left - min(dispute.left, block.timestamp - dispute.moved)
    self._move(number)
    log IFederation.Pursued(
        round=dispute.proposal >> 8, challenger=msg.sender, number=number, child=child, digest=digest
    )


@external
def expire(
    number: uint256,
    voters: DynArray[uint256, constants.MAX_MINERS],
    bodies: DynArray[bytes32, constants.MAX_MINERS],
):
    """
    @notice Ends a dispute in which the next move did not come in time, or whose proposal is gone; anybody may. That
            no answer came refutes the proposal when nobody can challenge it any more.
    @param number The dispute.
    @param voters Who voted in the round, in the order of unveiling; needed where an answer did not come.
    @param bodies What they voted.
    """
    dispute: IFederation.Dispute = self.disputes[number]
    assert dispute.state != 0, "disputes: none is open"
    if not self._stands(dispute):
        self._end(number, True)
        return
    if dispute.state == PICK or dispute.state == RULE:
        assert docket._passed(dispute.moved + dispute.left, dispute.block), "disputes: not yet due"
        self._lose(number)
        return
    assert docket._passed(dispute.due, dispute.block), "disputes: not yet due"
    # Whoever can show a wrong place goes first: silence costs less, so colluders would rather be silent.
    assert docket._window_over(rounds.clock), "disputes: window open"
    assert docket._all_opened(), "disputes: an announcement waits"
    assert verification._chain(voters, bodies) == verification.votes, "proposals: not the votes of this round"
    self._win(number, refutations.SILENCE, voters)


@internal
@payable
def _begin(clock: uint256, digest: uint256, tree: uint256, node: bytes32, state: uint256) -> uint256:
    """
    @notice Takes the bond of a dispute about the proposal that stands; the round waits.
    @param clock The clock.
    @param digest The digest of the proposal that the sender means.
    @param tree Which tree.
    @param node Its root.
    @param state ROWS or ANSWER.
    @return The number of the dispute.
    """
    proposals._check(digest)
    round: uint256 = rounds._round(clock)
    entry: uint256 = docket._entry(clock)
    assert msg.value >= docket._price(entry, round), "disputes: not the bond"
    assert entry & docket.OPEN < MAX_OPEN, "disputes: too many"
    if (entry >> docket.OPENED) & constants.MASK4 != constants.MASK4:
        entry += 1 << docket.OPENED
    docket.word = entry + 1
    election.lead |= election.HELD
    treasury.books += msg.value << treasury.OWED
    number: uint256 = self.dispute_count + 1
    self.dispute_count = number
    self.disputes[number] = IFederation.Dispute(
        challenger=msg.sender,
        bond=msg.value,
        proposal=docket._name(clock),
        tree=tree,
        state=state,
        height=leaves._depth(),
        index=0,
        node=node,
        levels=0,
        due=block.timestamp + terms.TERMS.answer_seconds,
        left=terms.TERMS.answer_seconds,
        moved=block.timestamp,
        block=block.number,
    )
    log IFederation.Disputed(round=round, challenger=msg.sender, tree=tree, number=number, bond=msg.value)
    return number


@internal
@view
def _stands(dispute: IFederation.Dispute) -> bool:
    """
    @notice Whether the proposal that a dispute is about still stands.
    @param dispute The dispute.
    """
    clock: uint256 = rounds.clock
    return clock & constants.MASK4 == constants.ATTEST and dispute.proposal == docket._name(clock)


@internal
@view
def _answering(number: uint256, state: uint256) -> IFederation.Dispute:
    """
    @notice A dispute in which an answer is due.
    @param number Its number.
    @param state ROWS or ANSWER.
    """
    dispute: IFederation.Dispute = self.disputes[number]
    assert dispute.state != 0 and self._stands(dispute), "disputes: none is open"
    assert dispute.state == state, "disputes: not what is due"
    assert not docket._passed(dispute.due, dispute.block), "disputes: move too late"
    return dispute


@internal
@view
def _answer(number: uint256, state: uint256, digest: bytes32) -> IFederation.Dispute:
    """
    @notice A dispute, if this answer is due.
    @param number Its number.
    @param state ROWS or ANSWER.
    @param digest What was shown comes to.
    """
    dispute: IFederation.Dispute = self._answering(number, state)
    assert digest == dispute.node, "disputes: not the disputed node"
    return dispute


@internal
@view
def _turn(number: uint256) -> IFederation.Dispute:
    """
    @notice A dispute in which the sender, its challenger, has the move.
    @param number Its number.
    """
    dispute: IFederation.Dispute = self.disputes[number]
    assert dispute.state != 0 and self._stands(dispute), "disputes: none is open"
    assert msg.sender == dispute.challenger, "disputes: not the challenger"
    assert dispute.state == PICK or dispute.state == RULE, "disputes: not what is due"
    assert not docket._passed(dispute.moved + dispute.left, dispute.block), "disputes: move too late"
    return dispute


@internal
def _move(number: uint256):
    """
    @notice The next move of a dispute is due from now on.
    @param number Its number.
    """
    self.disputes[number].moved = block.timestamp
    self.disputes[number].block = block.number
    self.disputes[number].due = block.timestamp + terms.TERMS.answer_seconds


@internal
def _close(number: uint256):
    """
    @notice Ends a dispute; the round no longer waits for it.
    @param number Its number.
    """
    if (docket.word >> docket.PROPOSAL) & constants.MASK32 == self.disputes[number].proposal:
        docket.word -= 1
    self.disputes[number].state = 0


@internal
def _end(number: uint256, returned: bool):
    """
    @notice Ends a dispute that the challenger has not won. The bond goes back where the proposal is gone. Where it
            is lost, half goes to the author of the proposal, who had to answer, and the rest to the pool: whoever
            sent an answer earns nothing by copying it.
    @param number Its number.
    @param returned Whether the bond goes back.
    """
    dispute: IFederation.Dispute = self.disputes[number]
    if returned:
        docket._return(dispute.challenger, dispute.bond, True)
    else:
        author: address = registry.miners[proposals.proposal & constants.MASK8]
        half: uint256 = dispute.bond // 2
        docket._return(author, half, True)
        docket._return(author, dispute.bond - half, False)
    self._close(number)
    log IFederation.DisputeEnded(challenger=dispute.challenger, number=number, returned=returned)


@internal
def _win(number: uint256, form: uint256, voters: DynArray[uint256, constants.MAX_MINERS]):
    """
    @notice Ends a dispute that has refuted the proposal: the bond goes back, and the challenger is rewarded.
    @param number Its number.
    @param form How the proposal was refuted.
    @param voters Who voted in the round.
    """
    self._end(number, True)
    refutations._refute(self.disputes[number].challenger, form, voters)


@internal
def _lose(number: uint256):
    """
    @notice Ends a dispute that the challenger has lost; the next ones cost more.
    @param number Its number.
    """
    self._end(number, False)
    docket._note_lost(rounds._round(rounds.clock))


@external
@view
def dispute_state(number: uint256) -> IFederation.Dispute:
    """
    @notice Where a dispute stands.
    @param number Its number.
    """
    return self.disputes[number]
