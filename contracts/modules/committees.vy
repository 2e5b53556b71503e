# pragma version 0.4.3
"""
@title committees: who decides for the others
@license Apache-2.0
@notice In a round in which everybody votes, the salts of the votes draw the committees of the next three rounds,
        by stake. A vote that is committed and not opened vetoes the draw, and so does a round without a new model:
        then everybody votes again. Members draw nobody: they could choose their salts so that the next
        committee is theirs as well.
"""

from modules import constants
from modules import terms
from modules import registry
from modules import rounds
from modules import lottery

uses: terms
uses: registry
uses: rounds


COMMITTEES: constant(uint256) = 3  # that are drawn at once


@internal
def _draw(seed: bytes32):
    """
    @notice Draws the committees of the next rounds from the miners of the running one.
    @param seed The exclusive or over all votes of keccak(voter, salt).
    """
    active: uint256 = registry.roster & constants.MASK64
    entrants: uint256[constants.MAX_MINERS] = empty(uint256[constants.MAX_MINERS])
    count: uint256 = 0
    for index: uint256 in range(constants.MAX_MINERS):
        if (active >> index) & 1 == 1:
            miner: address = registry.miners[index]
            weight: uint256 = (registry.records[miner] >> registry.WEIGHT) & registry.MAX_WEIGHT
            entrants[index] = convert(miner, uint256) | weight << lottery.WEIGHT
            count += 1
    size: uint256 = min(terms.TERMS.committee_size, count)
    draws: uint256 = size << rounds.DRAWN
    for committee: uint256 in range(COMMITTEES):
        draws |= lottery._drawn(seed, committee, entrants, size) << (64 * committee)
    rounds.draws = draws
