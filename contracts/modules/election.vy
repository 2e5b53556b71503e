# pragma version 0.4.3
"""
@title election: who leads
@license Apache-2.0
@notice The voters of a round lead in turns (`turns`), by stake or, where the engine is `resource`, by what the
        contract has seen of their resources. `pow` is a race: the first voter whose keccak(puzzle, turn,
        miner, nonce) is below the target. The lead is one word:
        leader (8) | turn (6) | standing (1) | held (1) | whole weight (24) | attested weight (24) | attested (64)
        | failed (64) | accepted samples (31) | matching verdicts, weighted (32) | spare (1).
        While a proposal stands, who passes it on neither earns nor pays a lead.
"""

from interfaces import IFederation
from modules import constants
from modules import packing
from modules import terms
from modules import registry
from modules import rounds
from modules import scores
from modules import turns

uses: terms
uses: registry
uses: rounds
uses: scores
uses: turns


TURN: constant(uint256) = 8  # shifts
WHOLE: constant(uint256) = 16
ATTESTED_WEIGHT: constant(uint256) = 40
ATTESTED: constant(uint256) = 64
FAILED: constant(uint256) = 128
SAMPLES: constant(uint256) = 192
MATCHES: constant(uint256) = 223
STANDING: constant(uint256) = 2**14  # a proposal was made that nobody has refuted
HELD: constant(uint256) = 2**15  # the round waits for a dispute
NOBODY: constant(uint256) = constants.MASK8  # the leader's index while a race is on
RETARGET: constant(uint256) = 4  # a race moves the target by this factor at most

lead: uint256
target: public(uint256)
puzzle: public(bytes32)  # what the proofs of work of a race start from


@deploy
def __init__():
    """
    @notice Sets the first target of the race.
    """
    self.target = terms.TERMS.pow_target


@internal
def _begin(
    clock: uint256,
    samples: uint256,
    matches: uint256,
    voters: DynArray[uint256, constants.MAX_MINERS],
    puzzle: bytes32,
):
    """
    @notice Starts the election of a counted round.
    @param clock The clock.
    @param samples The accepted samples.
    @param matches The verdicts that matched the tally, each with its voter's weight.
    @param voters Who voted.
    @param puzzle What a race starts from.
    """
    lead: uint256 = rounds._whole(clock) << WHOLE | samples << SAMPLES | matches << MATCHES
    seats: uint256 = (clock >> rounds.ACTED) & constants.MASK64
    if clock >> rounds.ENGINE == constants.POW:
        self.puzzle = puzzle
        if self.lead & constants.MASK8 == NOBODY:
            # The last race ended without a winner: the target is too hard for those who are left.
            self._retarget(terms.TERMS.pow_seconds * RETARGET)
    self._pass_on(clock, lead, seats, voters)


@internal
def _next(clock: uint256, before: uint256, voters: DynArray[uint256, constants.MAX_MINERS]) -> bool:
    """
    @notice Passes the lead on after a leader lost its turn. What was attested stays while a proposal stands.
    @param clock The clock.
    @param before The lead that failed.
    @param voters Who voted.
    @return Whether somebody was left; if not, the round is void.
    """
    turn: uint256 = ((before >> TURN) & constants.MASK6) + 1
    failed: uint256 = (before >> FAILED) & constants.MASK64 | 1 << (before & constants.MASK8)
    # More than one may fail at once: whoever attested what was refuted.
    if (clock >> rounds.EXPECTED) & constants.MASK64 & ~failed == 0:
        return False
    kept: uint256 = (
        constants.MASK24 << WHOLE | constants.MASK31 << SAMPLES | constants.MASK32 << MATCHES
    )
    if before & STANDING != 0:
        kept |= STANDING | constants.MASK24 << ATTESTED_WEIGHT | constants.MASK64 << ATTESTED
    self._pass_on(clock, before & kept | turn << TURN | failed << FAILED, clock >> rounds.EXPECTED, voters)
    return True


@internal
def _pass_on(
    clock: uint256, lead: uint256, seats: uint256, voters: DynArray[uint256, constants.MAX_MINERS]
):
    """
    @notice Opens a race, or makes the next in turn the leader.
    @param clock The clock.
    @param lead The lead, without a leader.
    @param seats The miners of the round.
    @param voters Who voted.
    """
    if clock >> rounds.ENGINE == constants.POW:
        self.lead = lead | NOBODY
        rounds.clock = rounds._stage(clock, constants.ELECT, terms.TERMS.elect_seconds, seats)
        return
    failed: uint256 = (lead >> FAILED) & constants.MASK64
    if lead & STANDING == 0:
        turns._share(voters, self._weights(clock, voters, failed))
    voter: uint256 = turns._first(voters, failed)
    if lead & STANDING == 0:
        turns._charge(voter >> packing.SEAT)
    self.lead = lead | voter >> packing.SEAT
    rounds.clock = rounds._stage(clock, constants.PROPOSE, terms.TERMS.propose_seconds, seats)
    log IFederation.Elected(
        round=rounds._round(clock),
        leader=packing._account(voter),
        turn=(lead >> TURN) & constants.MASK6,
        nonce=0,
    )


@internal
@view
def _weights(
    clock: uint256, voters: DynArray[uint256, constants.MAX_MINERS], failed: uint256
) -> DynArray[uint256, constants.MAX_MINERS]:
    """
    @notice By what a lead is shared out: stake, or the score before the round; 0 for who has lost its turn.
    @param clock The clock.
    @param voters Who voted.
    @param failed The mask of those that lost their turn.
    """
    weights: DynArray[uint256, constants.MAX_MINERS] = []
    for voter: uint256 in voters:
        weight: uint256 = 0
        if (failed >> (voter >> packing.SEAT)) & 1 == 0:
            weight = packing._weight(voter)
            if clock >> rounds.ENGINE == constants.RESOURCE:
                weight = scores._score(packing._account(voter), rounds._round(clock))
        weights.append(weight)
    return weights


@internal
@pure
def _proof(puzzle: bytes32, turn: uint256, miner: address, nonce: uint256) -> uint256:
    """
    @notice The number that has to be under the target.
    @param puzzle What the race starts from.
    @param turn How many leaders have lost their turn.
    @param miner Whose proof it is.
    @param nonce The proof.
    """
    return convert(keccak256(abi_encode(puzzle, turn, miner, nonce)), uint256)


@external
def solve(nonce: uint256):
    """
    @notice Ends the race: the sender has found a proof of work and leads.
    @param nonce The proof.
    """
    clock: uint256 = rounds._enter(constants.ELECT)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "election: not a voter of this round"
    lead: uint256 = self.lead
    assert (lead >> FAILED) & bit == 0, "election: lost its turn"
    turn: uint256 = (lead >> TURN) & constants.MASK6
    proof: uint256 = self._proof(self.puzzle, turn, msg.sender, nonce)
    assert proof < self.target, "election: above the target"
    started: uint256 = rounds._deadline(clock) - terms.TERMS.elect_seconds
    self._retarget(block.timestamp - started)
    self.lead = lead & ~NOBODY | record & registry.INDEX
    rounds.clock = rounds._stage(
        clock, constants.PROPOSE, terms.TERMS.propose_seconds, clock >> rounds.EXPECTED
    )
    log IFederation.Elected(round=rounds._round(clock), leader=msg.sender, turn=turn, nonce=nonce)


@internal
def _retarget(seconds: uint256):
    """
    @notice Moves the target towards the wished seconds.
    @param seconds How long the race took.
    """
    wished: uint256 = terms.TERMS.pow_seconds
    took: uint256 = min(max(seconds * RETARGET, wished), wished * RETARGET * RETARGET)
    # The quotient first: the target may be close to 2**256.
    unit: uint256 = self.target // (wished * RETARGET)
    if unit > max_value(uint256) // took:
        self.target = max_value(uint256)
    else:
        self.target = max(unit * took, 2**128)


@external
@view
def lead_now() -> IFederation.Lead:
    """
    @notice Who leads, at which turn, and how much weight has attested.
    """
    lead: uint256 = self.lead
    return IFederation.Lead(
        leader=registry.miners[lead & constants.MASK8],
        turn=(lead >> TURN) & constants.MASK6,
        whole_weight=(lead >> WHOLE) & constants.MASK24,
        attested_weight=(lead >> ATTESTED_WEIGHT) & constants.MASK24,
        attested=(lead >> ATTESTED) & constants.MASK64,
        failed=(lead >> FAILED) & constants.MASK64,
        samples=(lead >> SAMPLES) & constants.MASK31,
        matches=(lead >> MATCHES) & constants.MASK32,
        standing=lead & STANDING != 0,
    )
