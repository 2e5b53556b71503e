# pragma version 0.4.3
"""
@title turns: who leads next
@license Apache-2.0
@notice Every turn shares out one lead among the miners that may have it, by weight; the one with the most
        credit leads and pays one for it. Nothing is drawn, so nothing can be ground or withheld: a
        proposal follows from the accepted set, and a lead is only a fee. Credits are 32-bit fields,
        eight seats a word, in units of 2**-24 leads above -128. The Python twin is `bcfl.protocol.turns`.
"""

from modules import constants
from modules import packing


UNIT: constant(uint256) = 2**24  # one lead
JOINING: constant(uint256) = 2**31 - UNIT  # the credit of a seat that is taken anew: one lead below zero
FIELD: constant(uint256) = 32  # bits
FIELDS: constant(uint256) = 8  # in a word

words: uint256[8]


@internal
def _join(seat: uint256):
    """
    @notice Gives a seat that is taken anew its first credit.
    @param seat The seat.
    """
    offset: uint256 = FIELD * (seat % FIELDS)
    word: uint256 = self.words[seat // FIELDS]
    self.words[seat // FIELDS] = word & ~(constants.MASK32 << offset) | JOINING << offset


@internal
def _charge(seat: uint256):
    """
    @notice Lets a seat pay for one lead.
    @param seat The seat.
    """
    offset: uint256 = FIELD * (seat % FIELDS)
    word: uint256 = self.words[seat // FIELDS]
    credit: uint256 = (word >> offset) & constants.MASK32
    self.words[seat // FIELDS] = word - (min(credit, UNIT) << offset)


@internal
def _share(voters: DynArray[uint256, constants.MAX_MINERS], weights: DynArray[uint256, constants.MAX_MINERS]):
    """
    @notice Shares out one lead by weight.
    @dev    Only the words that hold a seat of these are read and written.
    @param voters The miners that may have it, as voters of the round.
    @param weights Their weights; 0 for those that have lost their turn.
    """
    total: uint256 = 0
    touched: uint256 = 0
    for i: uint256 in range(len(voters), bound=constants.MAX_MINERS):
        total += weights[i]
        touched |= 1 << (voters[i] >> packing.SEAT) // FIELDS
    credits: uint256[8] = empty(uint256[8])
    for i: uint256 in range(8):
        if (touched >> i) & 1 == 1:
            credits[i] = self.words[i]
    for i: uint256 in range(len(voters), bound=constants.MAX_MINERS):
        seat: uint256 = voters[i] >> packing.SEAT
        offset: uint256 = FIELD * (seat % FIELDS)
        word: uint256 = credits[seat // FIELDS]
        room: uint256 = constants.MASK32 - ((word >> offset) & constants.MASK32)
        credits[seat // FIELDS] = word + (min(UNIT * weights[i] // total, room) << offset)
    for i: uint256 in range(8):
        if (touched >> i) & 1 == 1:
            self.words[i] = credits[i]


@internal
@view
def _first(voters: DynArray[uint256, constants.MAX_MINERS], failed: uint256) -> uint256:
    """
    @notice The voter with the most credit among those that have not lost their turn; of several the one
            with the lowest seat.
    @param voters Who voted.
    @param failed The mask of those that lost their turn.
    """
    leader: uint256 = 0
    most: uint256 = 0
    for voter: uint256 in voters:
        seat: uint256 = voter >> packing.SEAT
        if (failed >> seat) & 1 == 1:
            continue
        # The lower seat is the larger number below the credit.
        rank: uint256 = self._credit(seat) << 8 | 255 - seat
        if leader == 0 or rank > most:
            leader = voter
            most = rank
    return leader


@internal
@view
def _credit(seat: uint256) -> uint256:
    """
    @notice A seat's credit, in units of 2**-24 leads above -128.
    @param seat The seat.
    """
    return (self.words[seat // FIELDS] >> (FIELD * (seat % FIELDS))) & constants.MASK32


@external
@view
def turn_credits() -> int256[64]:
    """
    @notice The credits of all seats, in units of 2**-24 leads.
    """
    credits: int256[64] = empty(int256[64])
    for seat: uint256 in range(64):
        credits[seat] = convert(self._credit(seat), int256) - 2**31
    return credits
