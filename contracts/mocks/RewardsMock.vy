# pragma version 0.4.3
"""
@title RewardsMock: prices and the pool on their own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import turns
from modules import registry
from modules import treasury
from modules import rounds
from modules import rewards

initializes: terms
initializes: turns
initializes: registry[terms := terms, turns := turns]
initializes: treasury
initializes: rounds[terms := terms, registry := registry]
initializes: rewards[terms := terms, registry := registry, rounds := rounds, treasury := treasury]


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))


@external
@view
def prices(reward: uint256, samples: uint256, matches: uint256) -> (uint256, uint256, uint256):
    """
    @notice What a sample, a matching verdict and the lead earn.
    @param reward The round's reward.
    @param samples The accepted samples.
    @param matches The matching verdicts.
    """
    return rewards._prices(reward, samples, matches)


@external
def reserve(books: uint256, samples: uint256, matches: uint256) -> (uint256, uint256):
    """
    @notice What a finished round sets aside, and the books after it.
    @param books Owed and pool before.
    @param samples The accepted samples.
    @param matches The matching verdicts.
    """
    treasury.books = books
    reward: uint256 = rewards._reserve(samples, matches)
    return reward, treasury.books
