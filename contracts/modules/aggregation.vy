# pragma version 0.4.3
"""
@title aggregation: what the accepted updates come to at one lane
@license Apache-2.0
@notice The rules of the federation in exact integers. Nothing is sorted: the median and the trimmed mean
        take the values at the ends of what they keep, and count that they are in their places.
"""

from modules import terms
from modules import leaves

uses: terms
uses: leaves


MEAN: constant(uint256) = 0
MEDIAN: constant(uint256) = 1
MAX_UPDATES: constant(uint256) = 1_024
BASIS: constant(uint256) = 10_000
MASK32: constant(uint256) = 2**32 - 1
LEAST: constant(int256) = -(2**31)
MOST: constant(int256) = 2**31 - 1


@internal
@view
def _step(
    parts: uint256, lane: uint256, count: uint256, samples: uint256, low: int256, high: int256
) -> int256:
    """
    @notice What the accepted updates come to at one lane, in the model's scale.
    @param parts Where the row's first byte is.
    @param lane The lane.
    @param count The accepted updates.
    @param samples Where the first weight is.
    @param low The lowest value that counts, where there are bounds.
    @param high The highest one.
    """
    bits: uint256 = terms.TERMS.lane_bits
    first: uint256 = parts + lane * bits // 8
    if terms.TERMS.rule == MEAN:
        return self._mean(first, bits, count, samples)
    if terms.TERMS.rule == MEDIAN:
        self._middle(first, bits, count, (count - 1) // 2, low, high)
        return self._rounded(low + high, 2)
    cut: uint256 = count * terms.TERMS.trim // BASIS
    return self._rounded(self._middle(first, bits, count, cut, low, high), count - 2 * cut)


@internal
@view
def _mean(first: uint256, bits: uint256, count: uint256, samples: uint256) -> int256:
    """
    @notice The mean weighted by samples.
    @param first Where the first value is.
    @param bits Its width.
    @param count The values.
    @param samples Where the first weight is.
    """
    size: uint256 = leaves._size()
    unused: uint256 = 256 - bits
    at: uint256 = first - unused // 8  # the word that ends with the lane
    total: int256 = 0
    weights: uint256 = 0
    eight: uint256 = 0
    for i: uint256 in range(count, bound=MAX_UPDATES):
        if i & 7 == 0:
            eight = leaves._word(unsafe_add(samples, i << 2))
        weight: uint256 = eight >> 224
        eight <<= 32
        value: int256 = (convert(slice(msg.data, at, 32), int256) << unused) >> unused
        weights = unsafe_add(weights, weight)
        total = unsafe_add(total, unsafe_mul(value, convert(weight, int256)))
        at = unsafe_add(at, size)
    return self._rounded(total, weights)


@internal
@view
def _middle(
    first: uint256, bits: uint256, count: uint256, cut: uint256, low: int256, high: int256
) -> int256:
    """
    @notice The sum of the values that are left when as many are cut from each end, in ascending order.
    @dev    Sorting is replaced by counting: `low` is the value at place `cut` if fewer than `cut + 1` values
            are below it and more than `cut` are not above it; the same for `high` from the other end.
    @param first Where the first value is.
    @param bits Its width.
    @param count The values.
    @param cut How many are cut from each end.
    @param low The lowest value that is left.
    @param high The highest one.
    """
    size: uint256 = leaves._size()
    unused: uint256 = 256 - bits
    at: uint256 = first - unused // 8  # the word that ends with the lane
    total: int256 = 0
    below_low: uint256 = 0
    up_to_low: uint256 = 0
    below_high: uint256 = 0
    up_to_high: uint256 = 0
    for _: uint256 in range(count, bound=MAX_UPDATES):
        value: int256 = (convert(slice(msg.data, at, 32), int256) << unused) >> unused
        at = unsafe_add(at, size)
        if value <= low:
            up_to_low = unsafe_add(up_to_low, 1)
            if value < low:
                below_low = unsafe_add(below_low, 1)
        elif value < high:
            total = unsafe_add(total, value)
        if value <= high:
            up_to_high = unsafe_add(up_to_high, 1)
            if value < high:
                below_high = unsafe_add(below_high, 1)
    last: uint256 = count - cut - 1
    placed: bool = below_low <= cut and cut < up_to_low and below_high <= last and last < up_to_high
    assert placed, "challenges: not the bounds"
    if low == high:
        return low * convert(last + 1 - cut, int256)
    total += low * convert(up_to_low - cut, int256)
    return total + high * convert(last + 1 - below_high, int256)


@internal
@view
def _rounded(numerator: int256, denominator: uint256) -> int256:
    """
    @notice A quotient in the model's scale, a half to the even number, held to 32 bits.
    @param numerator In the scale of the updates.
    @param denominator A positive number.
    """
    scaled: uint256 = convert(abs(numerator), uint256) << terms.TERMS.shift
    quotient: uint256 = scaled // denominator
    twice: uint256 = scaled % denominator * 2
    if twice > denominator or (twice == denominator and quotient & 1 == 1):
        quotient += 1
    if numerator < 0:
        return max(-convert(quotient, int256), LEAST)
    return min(convert(quotient, int256), MOST)
