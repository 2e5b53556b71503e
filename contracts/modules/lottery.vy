# pragma version 0.4.3
"""
@title lottery: the members of committees, by independent weighted tickets
@license Apache-2.0
@notice Every miner has a ticket of its own, a uniform number out of seed, committee and account. The
        ticket's logarithm is an exponential waiting time; divided by the weight it is a key, and the
        smallest keys are drawn. So each is first with its share of the weight, and whoever stays
        away changes nobody else's key. The Python twin is `bcfl.protocol.lottery`, bit for bit.
"""


from modules import constants


# Entrant: weight (16) | account (160); 0 where a seat is not drawn from.
WEIGHT: constant(uint256) = 160  # shift
TAKEN: constant(uint256) = max_value(uint256)

ONE: constant(uint256) = 2**128
LN2: constant(uint256) = 235865763225513294137944142764154484399  # ln(2) * 2**128
ROOT: constant(uint256) = 240615969168004511545033772477625056927  # sqrt(1/2) * 2**128


@internal
@pure
def _ticket(seed: bytes32, committee: uint256, account: uint256) -> uint256:
    """
    @notice A uniform number that nobody can choose.
    @param seed What the draw starts from.
    @param committee Which of the committees that are drawn at once.
    @param account Whose ticket it is.
    """
    return convert(keccak256(abi_encode(seed, committee, account)), uint256)


@internal
@pure
def _wait(ticket: uint256) -> uint256:
    """
    @notice -ln(ticket / 2**256) * 2**128, the lowest bit of the ticket taken as set; off by less than 2**-70.
    @dev    The ticket is m / 2**zeros with m in [1/2, 1). With t = (1 - m) / (1 + m), and 2m for m where
            m is below sqrt(1/2), t is at most 0.1716 and ln m = -2 (t + t**3 / 3 + t**5 / 5 + ...).
    @param ticket The ticket.
    """
    left: uint256 = ticket | 1
    base: uint256 = 0
    for _: uint256 in range(256):
        if left >> 255 == 1:
            break
        left <<= 1
        base = unsafe_add(base, LN2)
    m: uint256 = left >> 128
    t: uint256 = 0
    if m < ROOT:
        m <<= 1
        t = unsafe_div(unsafe_sub(m, ONE) << 128, unsafe_add(m, ONE))
        base = unsafe_add(base, LN2)
    else:
        t = unsafe_div(unsafe_sub(ONE, m) << 128, unsafe_add(m, ONE))
    s: uint256 = unsafe_mul(t, t) >> 128
    a: uint256 = ONE // 27
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 25)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 23)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 21)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 19)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 17)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 15)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 13)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 11)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 9)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 7)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 5)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE // 3)
    a = unsafe_add(unsafe_mul(a, s) >> 128, ONE)
    a = unsafe_mul(a, t) >> 127
    # At m below sqrt(1/2) the logarithm of 2m is positive.
    if m >= ONE:
        return unsafe_sub(base, a)
    return unsafe_add(base, a)


@internal
@pure
def _drawn(seed: bytes32, committee: uint256, entrants: uint256[constants.MAX_MINERS], picks: uint256) -> uint256:
    """
    @notice The seats of the first `picks` entrants, as a mask; all of them where there are no more.
    @param seed What the draw starts from.
    @param committee Which of the committees that are drawn at once.
    @param entrants Who takes part, by seat.
    @param picks How many are drawn.
    """
    waits: uint256[constants.MAX_MINERS] = empty(uint256[constants.MAX_MINERS])
    for i: uint256 in range(constants.MAX_MINERS):
        waits[i] = TAKEN
        if entrants[i] != 0:
            waits[i] = self._wait(self._ticket(seed, committee, entrants[i] & constants.MASK160))
    mask: uint256 = 0
    for _: uint256 in range(picks, bound=constants.MAX_MINERS):
        first: uint256 = constants.MAX_MINERS
        for i: uint256 in range(constants.MAX_MINERS):
            if waits[i] == TAKEN:
                continue
            if first == constants.MAX_MINERS or self._before(waits[i], entrants[i], waits[first], entrants[first]):
                first = i
        if first == constants.MAX_MINERS:
            break
        waits[first] = TAKEN
        mask |= 1 << first
    return mask


@internal
@pure
def _before(wait: uint256, entrant: uint256, other_wait: uint256, other: uint256) -> bool:
    """
    @notice Whether an entrant ranks before another.
    @param wait Its waiting time.
    @param entrant The entrant, packed.
    @param other_wait That of the other.
    @param other The other, packed.
    """
    left: uint256 = unsafe_mul(wait, other >> WEIGHT)
    right: uint256 = unsafe_mul(other_wait, entrant >> WEIGHT)
    if left == right:
        return entrant & constants.MASK160 < other & constants.MASK160
    return left < right
