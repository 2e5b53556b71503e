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
    found: DynArray[uint256, 256] = []
    for ticket: uint256 in tickets:
        found.append(lottery._wait(ticket))
    return found


@external
@pure
def drawn(
    seeds: DynArray[bytes32, 256], purpose: uint256, entrants: uint256[64], picks: uint256
) -> DynArray[uint256, 256]:
    """
    @notice The mask of the first places of each draw.
    @param seeds The seed of each draw.
    @param purpose What is drawn.
    @param entrants Who takes part, packed.
    @param picks How many are drawn.
    """
    found: DynArray[uint256, 256] = []
    for seed: bytes32 in seeds:
        found.append(lottery._drawn(seed, purpose, entrants, picks))
    return found
