# pragma version 0.4.3
"""
@title VerificationMock: the bit-sliced counting on its own
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
def majority(
    voters: DynArray[uint256, 64],
    column: DynArray[uint256, 64],
    owns: DynArray[uint256, 64],
    word: uint256,
    whole: uint256,
    is_committee: bool,
) -> (uint256, uint256):
    """
    @notice The updates that so much weight accepts as decides, and the voters' own ones that lack one vote more.
    @param voters Who voted.
    @param column Their verdicts on these updates.
    @param owns The positions of their own updates.
    @param word Which 256 updates.
    @param whole The weight of all who may vote.
    @param is_committee Whether it takes two thirds.
    """
    return counting._majority(voters, column, owns, word, whole, is_committee)


@external
@pure
def missing(reasons: Bytes[512], word: uint256) -> uint256:
    """
    @notice The updates that a vote could not get.
    @param reasons Four bits for each update.
    @param word Which 256 updates.
    """
    return counting._missing(reasons, word)


@external
@pure
def ones(word: uint256) -> uint256:
    """
    @notice The number of bits that are set.
    @param word The word.
    """
    return counting._ones(word)
