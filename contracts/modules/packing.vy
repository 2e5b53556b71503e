# pragma version 0.4.3
"""
@title packing: the word of a voter
@license Apache-2.0
@notice A vote names its voter in one word, the same in storage, in the tally and in calldata:
        index (8) | spare (4) | wish (4) | device + 1 (16) | weight (16) | account (160).
"""

from modules import constants


WEIGHT: constant(uint256) = 160  # shifts of a voter word
DEVICE: constant(uint256) = 176
WISH: constant(uint256) = 192
SEAT: constant(uint256) = 200


@internal
@pure
def _account(word: uint256) -> address:
    """
    @notice The account in the low 160 bits of a word.
    @param word The word.
    """
    return convert(word & constants.MASK160, address)


@internal
@pure
def _weight(voter: uint256) -> uint256:
    """
    @notice A voter's weight.
    @param voter The voter's word.
    """
    return (voter >> WEIGHT) & constants.MASK16

