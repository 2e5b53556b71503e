# pragma version 0.4.3
"""
@title counting: what a round's votes come to
@license Apache-2.0
@notice A verdict is four bits: 1 to 4 is the level at which the update counts, 5 and more the reason to reject it.
        A word holds the verdicts on 64 updates. Where all votes agree there is nothing to count; elsewhere the
        weight behind each verdict is summed up in a field of its own, four updates at a time.
"""

from modules import constants
from modules import packing


MAX_VOTES: constant(uint256) = constants.MAX_MINERS
UPDATES: constant(uint256) = 64  # in one word
TOP: constant(uint256) = 4  # the highest level
UNAVAILABLE: constant(uint256) = 5  # the verdict on an update that could not be had
FIELD: constant(uint256) = 22  # bits of the weight behind one verdict: 64 miners * 65,535 < 2**22
WEIGHT: constant(uint256) = 2**22 - 1
LOWEST: constant(uint256) = max_value(uint256) // 15  # the lowest bit of each verdict
REFUSED: constant(uint256) = 1  # what more than half of all says of an update
MISSED: constant(uint256) = 2


@internal
@pure
def _levels(
    voters: DynArray[uint256, MAX_VOTES],
    column: DynArray[uint256, MAX_VOTES],
    owned: uint256,
    whole: uint256,
    is_committee: bool,
) -> (uint256, uint256):
    """
    @notice The levels of 64 updates, each the highest that so much weight gives at least as decides, 0 where that
            is none; and for updates of voters whether more than half of all rejects or could not get them.
    @param voters Who voted: so many that they decide.
    @param column Their verdicts on these updates, 0 on a voter's own.
    @param owned The lowest bits of the verdicts on voters' own updates.
    @param whole The weight of all who may vote.
    @param is_committee Whether it takes two thirds.
    """
    first: uint256 = column[0]
    differs: uint256 = owned
    for verdicts: uint256 in column:
        differs |= verdicts ^ first
    levels: uint256 = first & unsafe_mul(self._accepting(first), 15)
    against: uint256 = 0
    if differs == 0:
        return levels, against
    for group: uint256 in range(UPDATES // 4):
        start: uint256 = 16 * group
        if (differs >> start) & constants.MASK16 == 0:
            continue
        a: uint256 = 0
        b: uint256 = 0
        c: uint256 = 0
        d: uint256 = 0
        total: uint256 = 0
        for i: uint256 in range(len(voters), bound=MAX_VOTES):
            weight: uint256 = packing._weight(voters[i])
            four: uint256 = column[i] >> start
            a = unsafe_add(a, weight << unsafe_mul(four & 15, FIELD))
            b = unsafe_add(b, weight << unsafe_mul((four >> 4) & 15, FIELD))
            c = unsafe_add(c, weight << unsafe_mul((four >> 8) & 15, FIELD))
            d = unsafe_add(d, weight << unsafe_mul((four >> 12) & 15, FIELD))
            total = unsafe_add(total, weight)
        sums: uint256[4] = [a, b, c, d]
        levels &= ~(constants.MASK16 << start)
        for place: uint256 in range(4):
            at: uint256 = start + 4 * place
            levels |= self._level(sums[place], whole, is_committee) << at
            if (owned >> at) & 1 == 1:
                against |= self._against(sums[place], total, whole) << at
    return levels, against


@internal
@pure
def _level(sums: uint256, whole: uint256, is_committee: bool) -> uint256:
    """
    @notice The level of one update: the highest that so much weight gives at least as decides, or 0.
    @dev    A voter's own update is judged by the others: more than half of them gives a level if
            2 * giving + own > whole, more than two thirds if 3 * giving + 2 * own > 2 * whole. A tie comes to more
            than half of all together with the own weight, because 2 * (giving + own) = whole + own; and so for
            two thirds. So it is enough: else one of three could keep out both others.
    @param sums The weight behind each verdict; that of the update's own device stands where none is.
    @param whole The weight of all who may vote.
    @param is_committee Whether it takes two thirds.
    """
    own: uint256 = sums & WEIGHT
    factor: uint256 = 2
    limit: uint256 = whole
    rest: uint256 = own
    if is_committee:
        factor = 3
        limit = 2 * whole
        rest = 2 * own
    giving: uint256 = 0
    for below: uint256 in range(TOP):
        level: uint256 = TOP - below
        giving += (sums >> (level * FIELD)) & WEIGHT
        reached: uint256 = factor * giving + rest
        if reached > limit or (reached == limit and own != 0):
            return level
    return 0


@internal
@pure
def _against(sums: uint256, total: uint256, whole: uint256) -> uint256:
    """
    @notice Whether more than half of all rejects an update (REFUSED), and could not get it (MISSED).
    @param sums The weight behind each verdict; that of the update's own device stands where none is.
    @param total The weight of all who voted.
    @param whole The weight of all who may vote.
    """
    rejecting: uint256 = total - (sums & WEIGHT)
    for level: uint256 in range(1, TOP + 1):
        rejecting -= (sums >> (level * FIELD)) & WEIGHT
    missing: uint256 = (sums >> (UNAVAILABLE * FIELD)) & WEIGHT
    against: uint256 = 0
    if 2 * rejecting > whole:
        against = REFUSED
    if 2 * missing > whole:
        against |= MISSED
    return against


@internal
@pure
def _accepting(verdicts: uint256) -> uint256:
    """
    @notice The lowest bit of each verdict that is a level.
    @param verdicts A word of verdicts.
    """
    low: uint256 = verdicts | verdicts >> 1  # 1 to 3, or a 4 with something in it
    return ((verdicts >> 2) ^ low) & ~(verdicts >> 3) & LOWEST


@internal
@pure
def _given(verdicts: uint256) -> uint256:
    """
    @notice The lowest bit of each verdict that is not 0.
    @param verdicts A word of verdicts.
    """
    return (verdicts | verdicts >> 1 | verdicts >> 2 | verdicts >> 3) & LOWEST


@internal
@pure
def _judged(updates: uint256, word: uint256) -> uint256:
    """
    @notice The lowest bits of the verdicts that a word of a round has.
    @param updates The updates of the round.
    @param word Which 64 updates.
    """
    if updates < (word + 1) * UPDATES:
        return LOWEST & ((1 << (updates % UPDATES * 4)) - 1)
    return LOWEST


@internal
@pure
def _own_bit(own: uint256, word: uint256) -> uint256:
    """
    @notice The lowest bit of the verdict on the voter's own update in one word.
    @param own Its position, or any number beyond all words.
    @param word Which 64 updates.
    """
    if own // UPDATES != word:
        return 0
    return 1 << (own % UPDATES * 4)


@internal
@pure
def _ones(word: uint256) -> uint256:
    """
    @notice The number of lowest bits that are set.
    @param word A word with no other bits.
    """
    # Sums in bytes, then all of them in the top one: 64 at most.
    return unsafe_mul((word + (word >> 4)) & (max_value(uint256) // 17), max_value(uint256) // 255) >> 248
