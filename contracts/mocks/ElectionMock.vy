# pragma version 0.4.3
"""
@title ElectionMock: draw and target of the election on their own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import scores
from modules import election

initializes: terms
initializes: registry[terms := terms]
initializes: rounds[terms := terms, registry := registry]
initializes: scores
initializes: election[terms := terms, registry := registry, rounds := rounds, scores := scores]

exports: (election.target, rounds.round_seed)


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))
    election.__init__()


@external
@view
def draw(voters: DynArray[uint256, 64], turn: uint256) -> address:
    """
    @notice The miner at a place of the ranking.
    @param voters Who voted.
    @param turn The place, from 0.
    """
    return election._draw(voters, turn)


@external
def retarget(target: uint256, seconds: uint256) -> uint256:
    """
    @notice The target after a race.
    @param target The target before.
    @param seconds How long the race took.
    """
    election.target = target
    election._retarget(seconds)
    return election.target
