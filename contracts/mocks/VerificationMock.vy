# pragma version 0.4.3
"""
@title VerificationMock: the bit-sliced counting on its own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import treasury
from modules import rounds
from modules import submissions
from modules import scores
from modules import election
from modules import verification
from modules import counting

initializes: terms
initializes: registry[terms := terms]
initializes: treasury
initializes: rounds[terms := terms, registry := registry]
initializes: submissions[terms := terms, registry := registry, rounds := rounds]
initializes: scores
initializes: election[terms := terms, registry := registry, rounds := rounds, scores := scores]
initializes: verification[
    terms := terms,
    registry := registry,
    rounds := rounds,
    submissions := submissions,
    election := election,
    treasury := treasury,
    scores := scores,
]


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))
    submissions.__init__()
    election.__init__()


@external
@pure
def majority(
    voters: DynArray[uint256, 64],
    column: DynArray[uint256, 64],
    owns: DynArray[uint256, 64],
    word: uint256,
    weight: uint256,
) -> uint256:
    """
    @notice The updates that more weight accepts than not.
    @param voters Who voted.
    @param column Their verdicts on these updates.
    @param owns The positions of their own updates.
    @param word Which 256 updates.
    @param weight The sum of the voters' weights.
    """
    return counting._majority(voters, column, owns, word, weight)


@external
@pure
def ones(word: uint256) -> uint256:
    """
    @notice The number of bits that are set.
    @param word The word.
    """
    return counting._ones(word)
