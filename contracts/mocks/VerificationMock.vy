# pragma version 0.4.3
"""
@title VerificationMock: the counting on its own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import counting


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Counting has no terms.
    @param terms_ What the parties agreed on.
    """
    pass


@external
@pure
def levels(
    voters: DynArray[uint256, 64],
    column: DynArray[uint256, 64],
    owned: uint256,
    whole: uint256,
    is_committee: bool,
) -> (uint256, uint256):
    """
    @notice The levels of 64 updates, and what more than half of all says against voters' own ones.
    @param voters Who voted.
    @param column Their verdicts on these updates.
    @param owned The lowest bits of the verdicts on voters' own updates.
    @param whole The weight of all who may vote.
    @param is_committee Whether it takes two thirds.
    """
    return counting._levels(voters, column, owned, whole, is_committee)


@external
@pure
def accepting(verdicts: uint256) -> (uint256, uint256):
    """
    @notice The verdicts that are levels: the lowest bit of each, and how many they are.
    @param verdicts A word of verdicts.
    """
    accepted: uint256 = counting._accepting(verdicts)
    return accepted, counting._ones(accepted)


@external
@pure
def known(verdicts: uint256, updates: uint256, word: uint256) -> bool:
    """
    @notice Whether a word has a verdict on each update of a round, and no other.
    @param verdicts The word.
    @param updates The updates of the round.
    @param word Which 64 updates.
    """
    return counting._known(verdicts) == counting._judged(updates, word)
