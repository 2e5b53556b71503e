# pragma version 0.4.3
"""
@title scores: what the contract has seen of a miner's resources
@license Apache-2.0
@notice The resource engine shares out leads by rate * storage * quality * stability. Each is an exponential average, a
        quarter new, over the rounds of that engine: how often a miner's own update could be had (storage),
        was accepted (quality), how often it unveiled its verdicts in time (stability), and the samples per
        second of its accepted updates (rate), which are its own claim and so count up to a multiple of the median of
        all active miners. A turn takes the score from before the round: what
        is shared out is known before it. The Python twin is `bcfl.protocol.scores`.
        A record is one word: round (32) | score before it (32) | rate (24) | stability (16) | quality (16) | storage (16).
"""

from interfaces import IFederation
from modules import constants


WHOLE: constant(uint256) = 65_535  # a share of one
QUALITY: constant(uint256) = 16  # shifts
STABILITY: constant(uint256) = 32
RATE: constant(uint256) = 48
BEFORE: constant(uint256) = 72
ROUND: constant(uint256) = 104
PART: constant(uint256) = 4  # of an average is new
SCALE: constant(uint256) = 40  # shift from the product to the score

# A newcomer: a quarter of each share, one sample per second.
NEWCOMER: constant(uint256) = WHOLE // 4 | WHOLE // 4 << QUALITY | WHOLE // 4 << STABILITY | 1 << RATE

# What a round has shown of a miner.
ON_TIME: constant(uint256) = 1
AVAILABLE: constant(uint256) = 2
ACCEPTED: constant(uint256) = 4

# The same of a voter, as one word: pace (24) | weight (16) | what the round has shown (8).
WEIGHT: constant(uint256) = 8  # shifts
PACE: constant(uint256) = 24

# What a miner adds to the median, as one word: pace (24) | weight (16).
MEDIAN_PACE: constant(uint256) = 16  # shift

records: HashMap[address, uint256]


@internal
@view
def _record(account: address) -> uint256:
    """
    @notice What is known of an account.
    @param account The account.
    """
    record: uint256 = self.records[account]
    if record == 0:
        return NEWCOMER
    return record


@internal
@pure
def _product(record: uint256) -> uint256:
    """
    @notice The score that a record comes to, at least 1, below 2**32.
    @param record The record.
    """
    shares: uint256 = (record & constants.MASK16) * ((record >> QUALITY) & constants.MASK16) * ((record >> STABILITY) & constants.MASK16)
    return max(1, shares * ((record >> RATE) & constants.MASK24) >> SCALE)


@internal
@view
def _score(account: address, round: uint256) -> uint256:
    """
    @notice What a round's leads are shared out to a miner by.
    @param account The miner.
    @param round The running round.
    """
    record: uint256 = self._record(account)
    if record >> ROUND == round:
        return (record >> BEFORE) & constants.MASK32
    return self._product(record)


@internal
@pure
def _towards(average: uint256, latest: uint256) -> uint256:
    """
    @notice An average with a new value in it; it reaches a value that stays the same.
    @param average The average before.
    @param latest The new value.
    """
    if latest >= average:
        return average + (latest - average + PART - 1) // PART
    return average - (average - latest + PART - 1) // PART


@internal
@view
def _rate(account: address) -> uint256:
    """
    @notice The samples per second that are known of an account; 1 if it is new.
    @param account The account.
    """
    return (self._record(account) >> RATE) & constants.MASK24


@internal
@pure
def _most(paces: DynArray[uint256, constants.MAX_MINERS], factor: uint256) -> uint256:
    """
    @notice The most that a pace counts in a round: the lower median of paces by weight, times a factor. Who has less
            than half of the weight cannot move it beyond the others' paces.
    @param paces The words of all active miners.
    @param factor The multiple of the median, in basis points.
    """
    whole: uint256 = 0
    fastest: uint256 = 0
    for word: uint256 in paces:
        whole += word & constants.MASK16
        fastest = max(fastest, word)
    median: uint256 = 0
    for k: uint256 in range(24):
        # All paces below `higher` have words below its own.
        higher: uint256 = (median | 1 << (23 - k)) << MEDIAN_PACE
        if higher > fastest:
            continue
        slower: uint256 = 0
        for word: uint256 in paces:
            if word < higher:
                slower += word & constants.MASK16
        if 2 * slower < whole:
            median = higher >> MEDIAN_PACE
    return median * factor // constants.BASIS


@internal
def _note(account: address, round: uint256, shown: uint256, pace: uint256):
    """
    @notice Takes in what a round has shown of a miner.
    @param account The miner.
    @param round The running round.
    @param shown ON_TIME, AVAILABLE, ACCEPTED, together.
    @param pace Samples per second of its accepted update, 0 if there is none.
    """
    record: uint256 = self._record(account)
    storage_: uint256 = self._towards(record & constants.MASK16, WHOLE * (shown // AVAILABLE & 1))
    quality: uint256 = self._towards((record >> QUALITY) & constants.MASK16, WHOLE * (shown // ACCEPTED & 1))
    stability: uint256 = self._towards((record >> STABILITY) & constants.MASK16, WHOLE * (shown & 1))
    rate: uint256 = (record >> RATE) & constants.MASK24
    if pace != 0:
        rate = self._towards(rate, pace)
    self.records[account] = (
        storage_
        | quality << QUALITY
        | stability << STABILITY
        | rate << RATE
        | self._product(record) << BEFORE
        | round << ROUND
    )


@external
@view
def resources(account: address) -> IFederation.Resources:
    """
    @notice What the contract has seen of a miner's resources.
    @param account Its account.
    """
    return self._read(account)


@internal
@view
def _read(account: address) -> IFederation.Resources:
    """
    @notice A record in words.
    @param account The account.
    """
    record: uint256 = self._record(account)
    return IFederation.Resources(
        storage=record & constants.MASK16,
        quality=(record >> QUALITY) & constants.MASK16,
        stability=(record >> STABILITY) & constants.MASK16,
        rate=(record >> RATE) & constants.MASK24,
        score=self._product(record),
    )
