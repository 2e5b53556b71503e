# pragma version 0.4.3
"""
@title proposals: the new model
@license Apache-2.0
@notice The leader states the new model's root and CID and what stands for the rows of the accepted
        updates: it has no choice there. The others recompute the proposal and attest; more than half of all active
        weight, or two thirds of a committee, makes it final when the challenge window is over. A leader that is
        late, or that nobody attests, loses its turn. A proposal belongs to its content, root and rows: whoever
        proposes what stands already, or what stood before in the round, attests it, and the lead is that of its first author.
        The CID is no part of it, since it follows from the model, and nobody could refute a wrong one. It says where to look:
        whoever attested may correct it. The proposal is one word: the upper 192 bits of its digest, 56 bits
        that stand for the CID, and the author's seat.
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import registry
from modules import rounds
from modules import election
from modules import turns
from modules import docket
from modules import verification
from modules import rewards
from modules import treasury

uses: terms
uses: registry
uses: rounds
uses: election
uses: turns
uses: docket
uses: verification
uses: rewards
uses: treasury


CONTENT: constant(uint256) = 64  # shifts of the proposal
CID: constant(uint256) = 8


proposal: uint256
authors: HashMap[uint256, uint256]  # upper bits of a digest that was replaced -> its first author's seat + 1
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
def propose(accepted: bytes32, root: bytes32, cid: bytes32, rows: bytes32):
    """
    @notice Proposes the new model; the leader's own weight attests it.
    @param accepted The accepted set that it follows from; on a fork with another one the call reverts.
    @param root Merkle root of the model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    """
    clock: uint256 = rounds._enter(constants.PROPOSE)
    assert not rounds._reached(clock), "proposals: too late"
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    lead: uint256 = election.lead
    seat: uint256 = record & registry.INDEX
    assert bit != 0 and seat == lead & constants.MASK8, "proposals: not the leader"
    assert accepted == verification.accepted, "proposals: another accepted set"
    digest: uint256 = self._digest(rounds._round(clock), root, rows)
    if lead & election.STANDING != 0:
        standing: uint256 = self.proposal
        if (standing ^ digest) >> CONTENT == 0:
            seat = standing & constants.MASK8
        else:
            # Nobody takes a lead from the first author of a content by putting another in between. Another content
            # is another lead: what this turn passed on has been paid for by the author of the first one.
            self.authors[standing >> CONTENT] = (standing & constants.MASK8) + 1
            author: uint256 = self.authors[digest >> CONTENT]
            if author == 0:
                turns._charge(seat)
            else:
                seat = author - 1
            lead &= ~(constants.MASK24 << election.ATTESTED_WEIGHT | constants.MASK64 << election.ATTESTED)
    self.proposal = digest & ~constants.MASK64 | self._named(cid) << CID | seat
    if (lead >> election.ATTESTED) & bit == 0:
        lead = self._support(clock, lead, record, bit)
    election.lead = lead | election.STANDING
    rounds.clock = rounds._stage(
        clock, constants.ATTEST, terms.TERMS.attest_seconds, clock >> rounds.EXPECTED
    )
    log IFederation.Proposed(
        round=rounds._round(clock),
        leader=msg.sender,
        author=registry.miners[seat],
        root=root,
        cid=cid,
        rows=rows,
    )


@internal
@view
def _digest(round: uint256, root: bytes32, rows: bytes32) -> uint256:
    """
    @notice What stands for a proposal: it binds the accepted set of the round.
    @param round The running round.
    @param root Merkle root of the model.
    @param rows What stands for the accepted updates, row by row.
    """
    return convert(keccak256(abi_encode(round, verification.accepted, root, rows)), uint256)


@internal
@pure
def _named(cid: bytes32) -> uint256:
    """
    @notice What stands for the CID of a proposal. It is short, and only says where to look: the root decides.
    @param cid sha2-256 digest of the CID.
    """
    return convert(keccak256(cid), uint256) & constants.MASK56


@internal
@view
def _check(digest: uint256):
    """
    @notice Insists that a proposal is the one that stands.
    @param digest Its digest.
    """
    assert (self.proposal ^ digest) >> CONTENT == 0, "proposals: not what was proposed"


@external
def attest(digest: bytes32):
    """
    @notice States that the sender has recomputed the proposal and found the same.
    @param digest keccak of (round, accepted, root, rows).
    """
    clock: uint256 = rounds._enter(constants.ATTEST)
    assert not rounds._reached(clock), "proposals: too late"
    self._check(convert(digest, uint256))
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "proposals: not a voter of this round"
    lead: uint256 = election.lead
    assert (lead >> election.ATTESTED) & bit == 0, "proposals: already attested"
    election.lead = self._support(clock, lead, record, bit)
    log IFederation.Attested(round=rounds._round(clock), miner=msg.sender)


@external
def correct_cid(cid: bytes32):
    """
    @notice States the CID of the model that stands, where its leader has named another one; who attested it may.
    @param cid sha2-256 digest of its CID.
    """
    clock: uint256 = rounds._enter(constants.ATTEST)
    bit: uint256 = registry._seat(msg.sender, clock >> rounds.EXPECTED)[1]
    assert (election.lead >> election.ATTESTED) & bit != 0, "proposals: has not attested"
    log IFederation.CidCorrected(round=rounds._round(clock), miner=msg.sender, cid=cid)


@internal
@view
def _support(clock: uint256, lead: uint256, record: uint256, bit: uint256) -> uint256:
    """
    @notice The lead with one more miner's weight behind the proposal; the members of a committee weigh 1.
    @param clock The clock.
    @param lead The lead.
    @param record The miner's record.
    @param bit The miner's bit.
    """
    weight: uint256 = (record >> registry.WEIGHT) & registry.MAX_WEIGHT
    if rounds._is_committee(clock):
        weight = 1
    return (lead | bit << election.ATTESTED) + (weight << election.ATTESTED_WEIGHT)


@internal
@view
def _attested(clock: uint256, lead: uint256) -> bool:
    """
    @notice Whether so much weight attested that the proposal can become final.
    @param clock The clock.
    @param lead The lead.
    """
    attested: uint256 = (lead >> election.ATTESTED_WEIGHT) & constants.MASK24
    whole: uint256 = (lead >> election.WHOLE) & constants.MASK24
    return rounds._decides(attested, whole, rounds._is_committee(clock))


@external
def finalize(root: bytes32, cid: bytes32, rows: bytes32):
    """
    @notice Adds the block to the model ledger and opens the next round; anybody may.
    @param root Merkle root of the proposed model.
    @param cid sha2-256 digest of its CID.
    @param rows What stands for the accepted updates, row by row.
    """
    clock: uint256 = rounds._enter(constants.ATTEST)
    lead: uint256 = election.lead
    assert not docket._waits(clock, lead), "proposals: not undisputed"
    assert self._attested(clock, lead), "proposals: not enough attestations"
    assert docket._window_over(clock), "proposals: window still open"
    round: uint256 = rounds._round(clock)
    self._check(self._digest(round, root, rows))
    assert (self.proposal >> CID ^ self._named(cid)) & constants.MASK56 == 0, "proposals: another CID"
    block_: IFederation.Block = IFederation.Block(
        parent=rounds.head,
        round=round,
        accepted=verification.accepted,
        root=root,
        cid=cid,
        leader=registry.miners[self.proposal & constants.MASK8],
        reward=rewards._reserve(
            (lead >> election.SAMPLES) & constants.MASK31, (lead >> election.MATCHES) & constants.MASK32
        ),
        engine=clock >> rounds.ENGINE,
        attested=(lead >> election.ATTESTED) & constants.MASK64,
    )
    head: bytes32 = keccak256(abi_encode(block_))
    rounds.head = head
    rounds.ledger[round] = head
    self.root = root
    self.cid = cid
    log IFederation.Finalized(
        round=round,
        leader=block_.leader,
        root=root,
        cid=cid,
        accepted=block_.accepted,
        reward=block_.reward,
        attested=block_.attested,
        block_hash=head,
    )
    rounds._open(round + 1)


@external
def skip(voters: DynArray[uint256, constants.MAX_MINERS], bodies: DynArray[bytes32, constants.MAX_MINERS]):
    """
    @notice Passes the lead on when the leader is late or its proposal found no support in time.
    @param voters Who voted in the round, in the order of unveiling.
    @param bodies What they voted.
    """
    clock: uint256 = rounds.clock
    phase: uint256 = clock & constants.MASK4
    assert phase == constants.PROPOSE or phase == constants.ATTEST, "rounds: not this phase"
    assert rounds._reached(clock), "proposals: not yet due"
    assert verification._chain(voters, bodies) == verification.votes, "proposals: not the votes of this round"
    lead: uint256 = election.lead
    assert not docket._waits(clock, lead), "proposals: not undisputed"
    round: uint256 = rounds._round(clock)
    if phase == constants.PROPOSE:
        treasury.books += registry._penalize(round, lead & constants.MASK8, terms.TERMS.leader_penalty)
    else:
        assert not self._attested(clock, lead), "proposals: attested"
    log IFederation.Skipped(
        round=round,
        leader=registry.miners[lead & constants.MASK8],
        turn=(lead >> election.TURN) & constants.MASK6,
    )
    if not election._next(clock, lead, voters):
        rounds._void(round, constants.NO_LEADER)


@external
@view
def model() -> (bytes32, bytes32):
    """
    @notice Root and CID digest of the current global model.
    """
    return self.root, self.cid
