# pragma version 0.4.3
"""
@title counting: what a round's votes come to
@license Apache-2.0
@notice A verdict is four bits: 1 to 4 is the level at which the update counts, 5 to 10 the reason to reject it.
        A word holds the verdicts on 64 updates. Where all votes agree there is nothing to count; elsewhere the
        weight behind each verdict is summed up in a field of its own, eight updates at a time. Weights come to less than
        2**22, so nothing overflows.
"""

from modules import constants
from modules import packing


MAX_VOTES: constant(uint256) = constants.MAX_MINERS
IN_WORD: constant(uint256) = 64  # updates in one word
TOGETHER: constant(uint256) = 8  # updates that are counted side by side
UNAVAILABLE: constant(uint256) = 5  # the verdict on an update that could not be had
FIELD: constant(uint256) = 22  # bits of the weight behind one verdict: 64 miners * 65,535 < 2**22
MASK22: constant(uint256) = 2**22 - 1
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
            is none; and of some whether more than half of all rejects or could not get them.
    @param voters Who voted: so many that they decide.
    @param column Their verdicts on these updates.
    @param owned The lowest bits of the verdicts of which it is asked what speaks against them.
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
    deciding: uint256 = whole // 2 + 1
    if is_committee:
        deciding = 2 * whole // 3 + 1
    weights: DynArray[uint256, MAX_VOTES] = []
    total: uint256 = 0
    for voter: uint256 in voters:
        weight: uint256 = packing._weight(voter)
        weights.append(weight)
        total = unsafe_add(total, weight)
    for group: uint256 in range(IN_WORD // TOGETHER):
        start: uint256 = 4 * TOGETHER * group
        if (differs >> start) & constants.MASK32 == 0:
            continue
        sums: uint256[TOGETHER] = self._sums(weights, column, start)
        levels &= ~(constants.MASK32 << start)
        for place: uint256 in range(TOGETHER):
            at: uint256 = start + 4 * place
            levels |= self._level(sums[place], deciding) << at
            if (owned >> at) & 1 == 1:
                against |= self._against(sums[place], total, whole) << at
    return levels, against


@internal
@pure
def _sums(
    weights: DynArray[uint256, MAX_VOTES], column: DynArray[uint256, MAX_VOTES], start: uint256
) -> uint256[TOGETHER]:
    """
    @notice The weight behind each verdict on updates that stand side by side.
    @dev    Unrolled, because votes times updates are 65,536.
    @param weights Of the voters.
    @param column Their verdicts.
    @param start The lowest bit of the first of these verdicts.
    """
    a: uint256 = 0
    b: uint256 = 0
    c: uint256 = 0
    d: uint256 = 0
    e: uint256 = 0
    f: uint256 = 0
    g: uint256 = 0
    h: uint256 = 0
    for i: uint256 in range(len(weights), bound=MAX_VOTES):
        weight: uint256 = weights[i]
        these: uint256 = column[i] >> start
        a = unsafe_add(a, weight << unsafe_mul(these & 15, FIELD))
        b = unsafe_add(b, weight << unsafe_mul((these >> 4) & 15, FIELD))
        c = unsafe_add(c, weight << unsafe_mul((these >> 8) & 15, FIELD))
        d = unsafe_add(d, weight << unsafe_mul((these >> 12) & 15, FIELD))
        e = unsafe_add(e, weight << unsafe_mul((these >> 16) & 15, FIELD))
        f = unsafe_add(f, weight << unsafe_mul((these >> 20) & 15, FIELD))
        g = unsafe_add(g, weight << unsafe_mul((these >> 24) & 15, FIELD))
        h = unsafe_add(h, weight << unsafe_mul((these >> 28) & 15, FIELD))
    return [a, b, c, d, e, f, g, h]


@internal
@pure
def _level(sums: uint256, deciding: uint256) -> uint256:
    """
    @notice The level of one update: the highest that so much weight gives at least as decides, or 0.
    @param sums The weight behind each verdict.
    @param deciding The least weight that decides.
    """
    giving: uint256 = (sums >> (4 * FIELD)) & MASK22
    if giving >= deciding:
        return 4
    giving = unsafe_add(giving, (sums >> (3 * FIELD)) & MASK22)
    if giving >= deciding:
        return 3
    giving = unsafe_add(giving, (sums >> (2 * FIELD)) & MASK22)
    if giving >= deciding:
        return 2
    giving = unsafe_add(giving, (sums >> FIELD) & MASK22)
    if giving >= deciding:
        return 1
    return 0


@internal
@pure
def _against(sums: uint256, total: uint256, whole: uint256) -> uint256:
    """
    @notice Whether more than half of all rejects an update (REFUSED), and could not get it (MISSED).
    @param sums The weight behind each verdict.
    @param total The weight of all who voted.
    @param whole The weight of all who may vote.
    """
    rejecting: uint256 = total
    for level: uint256 in range(1, 5):
        rejecting = unsafe_sub(rejecting, (sums >> (level * FIELD)) & MASK22)
    missing: uint256 = (sums >> (UNAVAILABLE * FIELD)) & MASK22
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
def _known(verdicts: uint256) -> uint256:
    """
    @notice The lowest bit of each verdict that there is: 1 to 10. What is beyond, 11 to 15, shows as 2 or 3: a word
            that has one is never what it should be.
    @param verdicts A word of verdicts.
    """
    some: uint256 = verdicts | verdicts >> 1 | verdicts >> 2 | verdicts >> 3
    beyond: uint256 = (verdicts >> 3) & (verdicts >> 2 | (verdicts >> 1 & verdicts))
    return some & LOWEST | (beyond & LOWEST) << 1


@internal
@pure
def _judged(updates: uint256, word: uint256) -> uint256:
    """
    @notice The lowest bits of the verdicts that a word of a round has.
    @param updates The updates of the round.
    @param word Which 64 updates.
    """
    if updates < (word + 1) * IN_WORD:
        return LOWEST & ((1 << (updates % IN_WORD * 4)) - 1)
    return LOWEST


@internal
@pure
def _ones(word: uint256) -> uint256:
    """
    @notice The number of lowest bits that are set.
    @param word A word with no other bits.
    """
    # Sums in bytes, then all of them in the top one: 64 at most.
    return unsafe_mul((word + (word >> 4)) & (max_value(uint256) // 17), max_value(uint256) // 255) >> 248
