# pragma version 0.4.3
"""
@title counting: verdicts as bits, 256 updates at a time
@license Apache-2.0
@notice Counting is bit-sliced: one word per binary digit of the weight holds that digit for 256 updates at once.
"""

from modules import constants
from modules import packing


MAX_VOTES: constant(uint256) = constants.MAX_MINERS
DIGITS: constant(uint256) = 25  # 64 miners * 65,535 * 2 < 2**23


@internal
@pure
def _majority(
    voters: DynArray[uint256, MAX_VOTES],
    column: DynArray[uint256, MAX_VOTES],
    owns: DynArray[uint256, MAX_VOTES],
    word: uint256,
    whole: uint256,
    is_committee: bool,
) -> (uint256, uint256):
    """
    @notice The updates that so much weight accepts as decides, 256 at a time, a voter's own left out of both sides;
            and the voters' own updates that just half of the others, or just two thirds, accept.
    @dev    More than half of the others accepts an update if 2 * accepting + own > whole, more than two thirds if
            3 * accepting + 2 * own > 2 * whole. A tie comes to more than half of all together with the own weight,
            because 2 * (accepting + own) = whole + own; and so for two thirds. So the tally takes it for accepted:
            else one of three could keep out both others.
    @param voters Who voted.
    @param column Their verdicts on these updates.
    @param owns The positions of their own updates.
    @param word Which 256 updates.
    @param whole The weight of all who may vote.
    @param is_committee Whether it takes two thirds.
    """
    yes_factor: uint256 = 2
    own_factor: uint256 = 1
    limit: uint256 = whole
    if is_committee:
        yes_factor = 3
        own_factor = 2
        limit = 2 * whole
    digits: uint256[DIGITS] = empty(uint256[DIGITS])
    owned: uint256 = 0
    for i: uint256 in range(len(voters), bound=MAX_VOTES):
        own: uint256 = self._own_bit(owns[i], word)
        yes: uint256 = column[i] & ~own
        owned |= own
        carry: uint256 = 0
        accepting: uint256 = packing._weight(voters[i]) * yes_factor
        abstaining: uint256 = packing._weight(voters[i]) * own_factor
        for k: uint256 in range(DIGITS):
            term: uint256 = 0
            if accepting & 1 != 0:
                term = yes
            if abstaining & 1 != 0:
                term |= own
            half: uint256 = digits[k] ^ term
            both: uint256 = digits[k] & term
            digits[k] = half ^ carry
            carry = both | half & carry
            accepting >>= 1
            abstaining >>= 1
            if accepting | carry == 0:
                break
    more: uint256 = 0
    equal: uint256 = max_value(uint256)
    for i: uint256 in range(DIGITS):
        k: uint256 = DIGITS - 1 - i
        if (limit >> k) & 1 == 1:
            equal &= digits[k]
        else:
            more |= equal & digits[k]
            equal &= ~digits[k]
    return more, equal & owned


@internal
@pure
def _missing(reasons: Bytes[512], word: uint256) -> uint256:
    """
    @notice The updates that a vote could not get, 256 at a time: a bit for each reason that is UNAVAILABLE (1).
    @param reasons Four bits for each update.
    @param word Which 256 updates.
    """
    padded: Bytes[544] = concat(reasons, empty(bytes32))
    bits: uint256 = 0
    for part: uint256 in range(4):
        start: uint256 = 128 * word + 32 * part
        if start >= len(reasons):
            break
        x: uint256 = convert(extract32(padded, start), uint256)
        # The lowest bit of each half byte that is 1, then all of them together, the first one lowest.
        x = x & ~(x >> 1) & ~(x >> 2) & ~(x >> 3) & (max_value(uint256) // 15)
        x = (x >> 4 | x << 1) & (max_value(uint256) // 85)
        x = (x >> 8 | x << 2) & (max_value(uint256) // 4_369)
        x = (x >> 16 | x << 4) & (max_value(uint256) // 16_843_009)
        x = (x >> 32 | x << 8) & (max_value(uint256) // 281_479_271_743_489)
        x = (x >> 64 | x << 16) & (max_value(uint256) // (2**96 + 2**64 + 2**32 + 1))
        x = (x >> 128 | x << 32) & (2**64 - 1)
        bits |= x << (64 * part)
    return bits


@internal
@pure
def _own_bit(own: uint256, word: uint256) -> uint256:
    """
    @notice The bit of the voter's own update in one word of verdicts.
    @param own Its position, or NOT_MINE.
    @param word The word.
    """
    if own // 256 != word:
        return 0
    return 1 << (own % 256)


@internal
@pure
def _ones(word: uint256) -> uint256:
    """
    @notice The number of bits that are set.
    @param word The word.
    """
    x: uint256 = word - ((word >> 1) & (max_value(uint256) // 3))
    x = (x & (max_value(uint256) // 5)) + ((x >> 2) & (max_value(uint256) // 5))
    x = (x + (x >> 4)) & (max_value(uint256) // 17)
    # Sixteen-bit sums, so that 256 ones do not wrap a byte; the product adds them up in its top lane.
    x = (x + (x >> 8)) & (max_value(uint256) // 257)
    return unsafe_mul(x, max_value(uint256) // 65_535) >> 240
