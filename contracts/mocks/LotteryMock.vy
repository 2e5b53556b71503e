# pragma version 0.4.3
"""
@title LotteryMock: the lottery on its own, many draws in one call
@license Apache-2.0
"""

from interfaces import IFederation
from modules import lottery


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice A lottery has no terms.
    @param terms_ What the parties agreed on.
    """
    pass


@external
@pure
def waits(tickets: DynArray[uint256, 256]) -> DynArray[uint256, 256]:
    """
    @notice The waiting times of tickets.
    @param tickets The tickets.
    """
    waits: DynArray[uint256, 256] = []
    for ticket: uint256 in tickets:
        waits.append(lottery._wait(ticket))
    return waits


@external
@pure
def drawn(
    seeds: DynArray[bytes32, 256], committee: uint256, entrants: uint256[64], picks: uint256
) -> DynArray[uint256, 256]:
    """
    @notice The mask of the members of each draw.
    @param seeds The seed of each draw.
    @param committee Which of the committees that are drawn at once.
    @param entrants Who takes part, packed, by seat.
    @param picks How many are drawn.
    """
    masks: DynArray[uint256, 256] = []
    for seed: bytes32 in seeds:
        masks.append(lottery._drawn(seed, committee, entrants, picks))
    return masks
