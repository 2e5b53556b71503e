# pragma version 0.4.3
"""
@title absence: what silence costs
@license Apache-2.0
@notice A miner that could have voted and whose vote is not open at the tally has missed the round. The first three
        misses of a spell cost a share of the stake; who goes on missing for some time is suspended: its
        seat stays, its weight counts for nothing until it resumes. Every suspension soon after another
        lasts longer. A vote that is committed and never opened costs more: it was a choice.
        `missed` has 4 bits a seat. A rest is one word: last (36) | until round (32) | strikes (4) | since (36).
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import registry
from modules import treasury

uses: terms
uses: registry
uses: treasury


SPELL: constant(uint256) = 3  # misses that cost a fee, and after which time alone suspends
MAX_STRIKES: constant(uint256) = 10
FORGIVEN: constant(uint256) = 64  # times `absence_seconds` after which strikes are forgotten
EVICTED: constant(uint256) = 16  # times `absence_seconds` after which a suspended seat can be freed
ROUNDS: constant(uint256) = 8  # that the second suspension lasts at least
STRIKES: constant(uint256) = 36  # shifts
UNTIL: constant(uint256) = 40
LAST: constant(uint256) = 72

missed: uint256
rests: HashMap[address, uint256]


@internal
def _settle(round: uint256, voters: uint256, present: uint256, unopened: uint256):
    """
    @notice Counts who has missed a round in which somebody voted.
    @param round The running round.
    @param voters The mask of those that could vote.
    @param present The mask of those that unveiled a vote.
    @param unopened The mask of those that committed one and did not unveil it.
    """
    word: uint256 = self.missed
    away: uint256 = voters & ~present
    if away == 0 and word == 0:
        return
    for index: uint256 in range(constants.MAX_MINERS):
        count: uint256 = (word >> (4 * index)) & constants.MASK4
        if (away >> index) & 1 == 1:
            count = self._miss(round, index, count, (unopened >> index) & 1 == 1)
        elif (present >> index) & 1 == 1 and count != 0:
            count -= 1
        word = word & ~(constants.MASK4 << (4 * index)) | count << (4 * index)
    self.missed = word


@internal
def _miss(round: uint256, index: uint256, before: uint256, unopened: bool) -> uint256:
    """
    @notice Takes the price of a missed round, and suspends who has missed for too long.
    @param round The running round.
    @param index The miner's seat.
    @param before How many rounds it had missed.
    @param unopened Whether it committed a vote.
    @return How many rounds it has missed now.
    """
    miner: address = registry.miners[index]
    rest: uint256 = self.rests[miner]
    if before == 0:
        rest = rest & ~constants.MASK36 | block.timestamp
        self.rests[miner] = rest
    strikes: uint256 = (rest >> STRIKES) & constants.MASK4
    last: uint256 = (rest >> LAST) & constants.MASK36
    if block.timestamp >= last + FORGIVEN * terms.TERMS.absence_seconds:
        strikes = 0
    count: uint256 = min(before + 1, constants.MASK4)
    penalty: uint256 = 0
    if unopened:
        # For each of its minimum stakes: its vote would have weighed as much.
        penalty = terms.TERMS.vote_penalty * ((registry.records[miner] >> registry.WEIGHT) & constants.MASK16)
    elif count <= SPELL:
        penalty = (registry.stakes[miner] * terms.TERMS.absence_penalty << strikes) // constants.BASIS
    if penalty != 0:
        treasury.books += registry._penalize(round, index, penalty)
    if count >= SPELL and block.timestamp >= (rest & constants.MASK36) + terms.TERMS.absence_seconds:
        self._suspend(round, index, miner, strikes)
        return 0
    return count


@internal
def _suspend(round: uint256, index: uint256, miner: address, strikes: uint256):
    """
    @notice Lets a miner's weight count for nothing from the next round on, until it resumes.
    @param round The running round.
    @param index Its seat.
    @param miner Its account.
    @param strikes How often it was suspended lately.
    """
    until: uint256 = round + 1 + ROUNDS * ((1 << strikes) - 1)
    self.rests[miner] = (
        block.timestamp << LAST | until << UNTIL | min(strikes + 1, MAX_STRIKES) << STRIKES
    )
    registry.records[miner] |= registry.SUSPENDED
    registry.roster |= 1 << (registry.CHANGED + index)
    log IFederation.Suspended(round=round, miner=miner, until_round=until)


@internal
def _resume(round: uint256):
    """
    @notice The sender's weight counts again from the next round on.
    @param round The running round.
    """
    record: uint256 = registry._staying(msg.sender)
    assert record & registry.SUSPENDED != 0, "absence: not suspended"
    assert round >= (self.rests[msg.sender] >> UNTIL) & constants.MASK32, "absence: suspension not over"
    registry.records[msg.sender] = record & ~registry.SUSPENDED
    registry.roster |= 1 << (registry.CHANGED + (record & registry.INDEX))
    log IFederation.Resumed(miner=msg.sender)


@internal
def _evict(account: address, round: uint256):
    """
    @notice Frees the seat of a miner that has been suspended for long; its stake goes the way of an exit.
    @param account The miner.
    @param round The running round.
    """
    assert registry._staying(account) & registry.SUSPENDED != 0, "absence: not suspended"
    last: uint256 = (self.rests[account] >> LAST) & constants.MASK36
    assert block.timestamp >= last + EVICTED * terms.TERMS.absence_seconds, "absence: not suspended for long"
    registry._leave_miner(account, round)


@internal
def _forget(index: uint256):
    """
    @notice Lets a seat that is taken anew have missed nothing.
    @param index The seat.
    """
    self.missed &= ~(constants.MASK4 << (4 * index))


@external
@view
def rest(account: address) -> IFederation.Rest:
    """
    @notice What a miner's absence has come to.
    @param account Its account.
    """
    record: uint256 = registry.records[account]
    assert record & registry.REGISTERED != 0, "registry: not a miner"
    word: uint256 = self.rests[account]
    return IFederation.Rest(
        missed=(self.missed >> (4 * (record & registry.INDEX))) & constants.MASK4,
        since=word & constants.MASK36,
        strikes=(word >> STRIKES) & constants.MASK4,
        suspended=record & registry.SUSPENDED != 0,
        until_round=(word >> UNTIL) & constants.MASK32,
    )
