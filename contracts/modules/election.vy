# pragma version 0.4.3
"""
@title election: who leads
@license Apache-2.0
@notice A lottery among the voters of the round: weighted by stake (`stake`), by what the contract has
        seen of their resources (`resource`), or evenly among the members (`committee`). Tickets are
        independent, so that there is always a next in line, whoever stays away. `pow`: the first voter
        whose keccak(puzzle, turn, miner, nonce) is below the target. The lead is one word:
        leader (8) | turn (8) | voting weight (24) | attested weight (24) | attested (64) | failed (64)
        | accepted samples (32) | matching verdicts (24) | spare (7) | held (1).
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import scores
from modules import lottery

uses: terms
uses: registry
uses: rounds
uses: scores


MAX_VOTES: constant(uint256) = 64

TURN: constant(uint256) = 8  # shifts
VOTING: constant(uint256) = 16
ATTESTED_WEIGHT: constant(uint256) = 40
ATTESTED: constant(uint256) = 64
FAILED: constant(uint256) = 128
SAMPLES: constant(uint256) = 192
MATCHES: constant(uint256) = 224
HELD: constant(uint256) = 2**255  # a dispute is open: the round waits for its end
NOBODY: constant(uint256) = 255  # the leader's index while a race is on
MASK8: constant(uint256) = 2**8 - 1
MASK16: constant(uint256) = 2**16 - 1
MASK24: constant(uint256) = 2**24 - 1
MASK32: constant(uint256) = 2**32 - 1
MASK64: constant(uint256) = 2**64 - 1
MASK160: constant(uint256) = 2**160 - 1
VOTER_NOVICE: constant(uint256) = 2**196
VOTER_INDEX: constant(uint256) = 200  # shift
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
    weight: uint256,
    samples: uint256,
    matches: uint256,
    voters: DynArray[uint256, MAX_VOTES],
    puzzle: bytes32,
):
    """
    @notice Starts the election of a counted round.
    @param clock The clock.
    @param weight The round's voting weight.
    @param samples The accepted samples.
    @param matches The verdicts that matched the tally.
    @param voters Who voted.
    @param puzzle What a race starts from.
    """
    lead: uint256 = weight << VOTING | samples << SAMPLES | matches << MATCHES
    seats: uint256 = (clock >> rounds.ACTED) & MASK64
    if clock >> rounds.ENGINE == rounds.POW:
        self.puzzle = puzzle
        if self.lead & MASK8 == NOBODY:
            # The last race ended without a winner: the target is too hard for those who are left.
            self._retarget(terms.TERMS.pow_seconds * RETARGET)
        self._race(clock, lead, seats)
    else:
        self._appoint(clock, lead, seats, self._draw(clock, voters, 0))


@internal
def _next(clock: uint256, before: uint256, voters: DynArray[uint256, MAX_VOTES]) -> bool:
    """
    @notice Passes the lead on after a leader lost its turn.
    @param clock The clock.
    @param before The lead that failed.
    @param voters Who voted.
    @return Whether somebody was left; if not, the round is void.
    """
    turn: uint256 = ((before >> TURN) & MASK8) + 1
    if turn >= len(voters):
        return False
    failed: uint256 = (before >> FAILED) & MASK64 | 1 << (before & MASK8)
    kept: uint256 = MASK24 << VOTING | MASK32 << SAMPLES | MASK24 << MATCHES
    lead: uint256 = before & kept | turn << TURN | failed << FAILED
    seats: uint256 = clock >> rounds.EXPECTED
    if clock >> rounds.ENGINE == rounds.POW:
        self._race(clock, lead, seats)
    else:
        self._appoint(clock, lead, seats, self._draw(clock, voters, failed))
    return True


@internal
def _race(clock: uint256, lead: uint256, seats: uint256):
    """
    @notice Opens a race for a proof of work.
    @param clock The clock.
    @param lead The lead, without a leader.
    @param seats The miners of the round.
    """
    self.lead = lead | NOBODY
    rounds.clock = rounds._stage(clock, rounds.ELECT, terms.TERMS.elect_seconds, seats)


@internal
def _appoint(clock: uint256, lead: uint256, seats: uint256, voter: uint256):
    """
    @notice Makes a miner the leader.
    @param clock The clock.
    @param lead The lead, without a leader.
    @param seats The miners of the round.
    @param voter The miner, as a voter of the round.
    """
    self.lead = lead | voter >> VOTER_INDEX
    rounds.clock = rounds._stage(clock, rounds.PROPOSE, terms.TERMS.propose_seconds, seats)
    log IFederation.Elected(
        round=rounds._round(clock),
        leader=convert(voter & MASK160, address),
        turn=(lead >> TURN) & MASK8,
        nonce=0,
    )


@internal
@view
def _draw(clock: uint256, voters: DynArray[uint256, MAX_VOTES], failed: uint256) -> uint256:
    """
    @notice The first in the ranking of the voters that have not lost their turn.
    @param clock The clock.
    @param voters Who voted.
    @param failed The mask of those that lost their turn.
    """
    by_resources: bool = clock >> rounds.ENGINE == rounds.RESOURCE
    seed: bytes32 = rounds.seed
    leader: uint256 = 0
    first: uint256 = 0
    least: uint256 = 0
    for voter: uint256 in voters:
        if (failed >> (voter >> VOTER_INDEX)) & 1 == 1:
            continue
        entrant: uint256 = voter & (MASK160 | MASK16 << lottery.WEIGHT)
        if by_resources:
            score: uint256 = scores._score(convert(voter & MASK160, address), rounds._round(clock))
            entrant = voter & MASK160 | score << lottery.WEIGHT
        if voter & VOTER_NOVICE != 0:
            entrant |= lottery.NOVICE
        wait: uint256 = lottery._wait(lottery._ticket(seed, lottery.LEAD, entrant & MASK160))
        if first == 0 or lottery._before(wait, entrant, least, first):
            leader = voter
            first = entrant
            least = wait
    return leader


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
    clock: uint256 = rounds._enter(rounds.ELECT)
    record: uint256 = 0
    bit: uint256 = 0
    record, bit = registry._seat(msg.sender, clock >> rounds.EXPECTED)
    assert bit != 0, "election: not a voter of this round"
    lead: uint256 = self.lead
    assert (lead >> FAILED) & bit == 0, "election: lost its turn"
    turn: uint256 = (lead >> TURN) & MASK8
    proof: uint256 = self._proof(self.puzzle, turn, msg.sender, nonce)
    assert proof < self.target, "election: above the target"
    started: uint256 = ((clock >> rounds.DEADLINE) & rounds.MASK36) - terms.TERMS.elect_seconds
    self._retarget(block.timestamp - started)
    self.lead = (lead & ~NOBODY) | record & MASK8
    rounds.clock = rounds._stage(
        clock, rounds.PROPOSE, terms.TERMS.propose_seconds, clock >> rounds.EXPECTED
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
        leader=registry.miners[lead & MASK8],
        turn=(lead >> TURN) & MASK8,
        voting_weight=(lead >> VOTING) & MASK24,
        attested_weight=(lead >> ATTESTED_WEIGHT) & MASK24,
        attested=(lead >> ATTESTED) & MASK64,
        failed=(lead >> FAILED) & MASK64,
        samples=(lead >> SAMPLES) & MASK32,
        matches=(lead >> MATCHES) & MASK24,
    )
