# pragma version 0.4.3
"""
@title tallies: what the round's tally says of its updates
@license Apache-2.0
@notice A tally is handed in as the bytes whose hash is the accepted set, and read where it stands in the
        calldata, as `leaves` does. Word TALLY of the arguments leads to it; where an update is opened, the
        opening follows, and behind it the word that leads to the update's group.
"""

from interfaces import IFederation
from modules import constants
from modules import counting
from modules import leaves
from modules import rounds
from modules import submissions

uses: rounds


TALLY: constant(uint256) = 4  # words of the arguments that lead to what has no fixed length
GROUP_WORDS: constant(uint256) = 8
CHECKPOINTS: constant(uint256) = 0  # words of the tally
VOTERS: constant(uint256) = 2
LEVEL_WORDS: constant(uint256) = 4
CAP: constant(uint256) = 5

MAX_TALLY: constant(uint256) = 6_016


@internal
@view
def _check_update(position: uint256, opening: IFederation.Opening):
    """
    @notice Insists that an opening is that of the accepted update at a position.
    @param position Its position.
    @param opening What its commitment hides.
    """
    assert self._accepted(position + 1) != self._accepted(position), "challenges: no such place"
    first: uint256 = position // constants.GROUP
    checkpoints: uint256 = self._list(CHECKPOINTS) + 32 * first
    links: uint256 = 0
    if first != 0:
        links = leaves._word(checkpoints - 32)
    at: uint256 = leaves._tail(GROUP_WORDS)
    self._fold(links, at, leaves._length(GROUP_WORDS), leaves._word(checkpoints))
    word: uint256 = leaves._word(at + 32 * (position % constants.GROUP))
    round: uint256 = rounds._round(rounds.clock)
    commitment: bytes32 = submissions._commitment(round, opening.root, opening.cid, opening.claim)
    different: uint256 = (convert(commitment, uint256) ^ word) & submissions.COMMITMENT
    assert different == 0, "challenges: not the update's opening"


@internal
@view
def _fold(start: uint256, at: uint256, count: uint256, end: uint256):
    """
    @notice Insists that words of updates are those between two checkpoints.
    @param start The checkpoint before them.
    @param at Where they begin.
    @param count How many they are.
    @param end The checkpoint behind them.
    """
    links: uint256 = start
    for i: uint256 in range(count, bound=constants.MAX_UPDATES):
        links = convert(keccak256(abi_encode(links, leaves._word(at + 32 * i))), uint256)
    assert links == end, "challenges: not the round's updates"


@internal
@view
def _accepted(before: uint256) -> uint256:
    """
    @notice How many updates before a position are accepted.
    @param before The position.
    """
    at: uint256 = self._list(LEVEL_WORDS)
    left: uint256 = before
    count: uint256 = 0
    for i: uint256 in range(leaves._word(at - 32), bound=16):
        levels: uint256 = leaves._word(at + 32 * i)
        if left < 64:
            levels &= (1 << (4 * left)) - 1
        count += counting._ones(counting._accepting(levels))
        if left < 64:
            break
        left -= 64
    return count


@internal
@view
def _cap() -> uint256:
    """
    @notice The most that counts of a claim: the round's median.
    """
    return leaves._word(leaves._tail(TALLY) + 32 + 32 * CAP)


@internal
@view
def _list(place: uint256) -> uint256:
    """
    @notice Where a list of the tally begins, behind its length.
    @param place Which word of the tally leads there.
    """
    tally: uint256 = leaves._tail(TALLY) + 32
    return tally + 32 + leaves._word(tally + 32 * place)
