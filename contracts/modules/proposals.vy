# pragma version 0.4.3
"""
@title proposals: the leader's new model
@license Apache-2.0
@notice The leader states the new model's root and CID and what stands for the rows of the accepted
        updates, and shows the next layer of its hash chain: it has no choice there, and the next seed
        comes of it. The others recompute the proposal and attest; more than two thirds of the voting weight, or half of a committee, make it final
        when the challenge window is over. A leader that is late, or that nobody attests, loses its turn.
        While a dispute is open (`_hold`), the round waits for its end (`_let_go`).
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import election
from modules import verification
from modules import rewards
from modules import treasury

uses: terms
uses: registry
uses: rounds
uses: election
uses: verification
uses: rewards
uses: treasury


proposal: bytes32
root: bytes32
cid: bytes32


@deploy
def __init__(root: bytes32, cid: bytes32):
    """
    @notice Keeps the genesis model as the current one.
    @param root Merkle root of the model.
    @param cid sha2-256 digest of its CID.
    """
    self.root = root
    self.cid = cid


@external
def propose(root: bytes32, cid: bytes32, rows: bytes32, layer: bytes32):
    """
    @notice Proposes the new model; the leader's own weight attests it.
    @param root Merkle root of the model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    @param layer The next layer of the leader's hash chain.
    """
    clock: uint256 = rounds._enter(rounds.PROPOSE)
    assert block.timestamp < (clock >> rounds.DEADLINE) & rounds.MASK36, "proposals: too late"
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    lead: uint256 = election.lead
    assert bit != 0 and record & registry.INDEX == lead & election.MASK8, "proposals: not the leader"
    assert record & registry.RENEWED == 0, "proposals: tail of this round"
    assert keccak256(layer) == registry.tails[msg.sender], "proposals: not the next layer"
    registry.tails[msg.sender] = layer
    self.proposal = keccak256(abi_encode(rounds._round(clock), root, cid, rows, layer))
    election.lead = self._support(clock, lead, record, bit)
    rounds.clock = rounds._stage(clock, rounds.ATTEST, terms.TERMS.attest_seconds, clock >> rounds.EXPECTED)
    log IFederation.Proposed(
        round=rounds._round(clock), leader=msg.sender, root=root, cid=cid, rows=rows, layer=layer
    )


@external
def attest(digest: bytes32):
    """
    @notice States that the sender has recomputed the proposal and found the same.
    @param digest keccak of (round, root, cid, rows, layer).
    """
    clock: uint256 = rounds._enter(rounds.ATTEST)
    assert block.timestamp < (clock >> rounds.DEADLINE) & rounds.MASK36, "proposals: too late"
    assert digest == self.proposal, "proposals: not what was proposed"
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "proposals: not a voter of this round"
    lead: uint256 = election.lead
    assert (lead >> election.ATTESTED) & bit == 0, "proposals: already attested"
    election.lead = self._support(clock, lead, record, bit)
    log IFederation.Attested(round=rounds._round(clock), miner=msg.sender)


@internal
@pure
def _support(clock: uint256, lead: uint256, record: uint256, bit: uint256) -> uint256:
    """
    @notice The lead with one more miner's weight behind the proposal; the members of a committee weigh 1.
    @param clock The clock.
    @param lead The lead.
    @param record The miner's record.
    @param bit The miner's bit.
    """
    weight: uint256 = (record >> registry.WEIGHT) & registry.MAX_WEIGHT
    if clock >> rounds.ENGINE == rounds.COMMITTEE:
        weight = 1
    return (lead | bit << election.ATTESTED) + (weight << election.ATTESTED_WEIGHT)


@internal
@pure
def _attested(clock: uint256, lead: uint256) -> bool:
    """
    @notice Whether more than two thirds of the voting weight attested; of a committee, more than half.
    @dev    Who holds a third could keep every proposal but its own from becoming final, and a third of a
            committee is drawn easily.
    @param clock The clock.
    @param lead The lead.
    """
    attested: uint256 = (lead >> election.ATTESTED_WEIGHT) & election.MASK24
    voting: uint256 = (lead >> election.VOTING) & election.MASK24
    if clock >> rounds.ENGINE == rounds.COMMITTEE:
        return attested * 2 > voting
    return attested * 3 > voting * 2


@external
def finalize(root: bytes32, cid: bytes32, rows: bytes32, layer: bytes32):
    """
    @notice Adds the block to the model ledger and opens the next round; anybody may.
    @param root Merkle root of the proposed model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    @param layer The layer that the leader showed; it makes the next seed.
    """
    clock: uint256 = rounds._enter(rounds.ATTEST)
    lead: uint256 = election.lead
    assert lead & election.HELD == 0, "proposals: a dispute is open"
    assert self._attested(clock, lead), "proposals: not enough attestations"
    proposed: uint256 = ((clock >> rounds.DEADLINE) & rounds.MASK36) - terms.TERMS.attest_seconds
    assert block.timestamp >= proposed + terms.TERMS.challenge_seconds, "proposals: window still open"
    round: uint256 = rounds._round(clock)
    digest: bytes32 = keccak256(abi_encode(round, root, cid, rows, layer))
    assert digest == self.proposal, "proposals: not what was proposed"
    block_: IFederation.Block = IFederation.Block(
        parent=rounds.head,
        round=round,
        accepted=verification.accepted,
        root=root,
        cid=cid,
        leader=registry.miners[lead & election.MASK8],
        reward=rewards._reserve(
            (lead >> election.SAMPLES) & election.MASK32, (lead >> election.MATCHES) & election.MASK24
        ),
        engine=clock >> rounds.ENGINE,
    )
    head: bytes32 = keccak256(abi_encode(block_))
    rounds.head = head
    rounds.ledger[round] = head
    rounds.seed = keccak256(abi_encode(rounds.seed, layer))
    self.root = root
    self.cid = cid
    log IFederation.Finalized(
        round=round,
        leader=block_.leader,
        root=root,
        cid=cid,
        accepted=block_.accepted,
        reward=block_.reward,
        block_hash=head,
    )
    rounds._open(round + 1)


@external
def skip(voters: DynArray[uint256, 64], bodies: DynArray[bytes32, 64]):
    """
    @notice Passes the lead on when the leader is late or its proposal found no support in time.
    @param voters Who voted in the round, in the order of unveiling.
    @param bodies What they voted.
    """
    clock: uint256 = rounds.clock
    phase: uint256 = clock & rounds.MASK4
    assert phase == rounds.PROPOSE or phase == rounds.ATTEST, "rounds: not this phase"
    assert block.timestamp >= (clock >> rounds.DEADLINE) & rounds.MASK36, "proposals: not yet due"
    assert verification._chain(voters, bodies) == verification.votes, "proposals: not the votes of this round"
    lead: uint256 = election.lead
    assert lead & election.HELD == 0, "proposals: a dispute is open"
    round: uint256 = rounds._round(clock)
    if phase == rounds.PROPOSE:
        treasury.books += registry._penalize(round, lead & election.MASK8, terms.TERMS.leader_penalty)
    else:
        assert not self._attested(clock, lead), "proposals: attested"
    log IFederation.Skipped(
        round=round, leader=registry.miners[lead & election.MASK8], turn=(lead >> election.TURN) & election.MASK8
    )
    if not election._next(clock, lead, voters):
        rounds._void(round, rounds.NO_LEADER)


@internal
def _hold():
    """
    @notice Lets the round wait: a dispute about its proposal is open.
    """
    election.lead |= election.HELD


@internal
def _let_go(since: uint256):
    """
    @notice Lets the round go on after a dispute that came to nothing; attestations and the window get back
            the time that it took, and as much as a move of it has, for a challenge of what was shown.
    @param since When the dispute was opened.
    """
    election.lead &= ~election.HELD
    rounds.clock += (block.timestamp - since + terms.TERMS.answer_seconds) << rounds.DEADLINE


@internal
def _refuted(challenger: address, bond: uint256):
    """
    @notice Voids a proposal that was shown to be wrong: the leader loses its whole stake, half of it to the
            challenger and the rest to the pool. The caller, who has the voters, lets the next in line lead.
    @param challenger Who showed it.
    @param bond What the challenger put at stake and gets back.
    """
    taken: uint256 = registry._slash(rounds._round(rounds.clock), election.lead & election.MASK8)
    half: uint256 = taken // 2
    treasury.credits[challenger] += half + bond
    treasury.books += ((half + bond) << treasury.OWED) + (taken - half)
    self.proposal = empty(bytes32)


@external
@view
def model() -> (bytes32, bytes32):
    """
    @notice Root and CID digest of the current global model.
    """
    return self.root, self.cid
