# pragma version 0.4.3
# pragma optimize gas
"""
@title AggregationMock: the arithmetic of a challenge on its own, many lanes in one call
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import leaves
from modules import aggregation

initializes: terms
initializes: leaves[terms := terms]
initializes: aggregation[terms := terms, leaves := leaves]


# One lane of a row that is challenged. Of the two models' words only the lowest 32 bits are the lane.
struct Probe:
    lane: uint256
    low: int256
    high: int256
    before: uint256
    after: uint256


MAX_PROBES: constant(uint256) = 512
MAX_SAMPLES: constant(uint256) = 4_096
MAX_ROW: constant(uint256) = 65_537

BEFORE: constant(uint256) = 3  # words of the arguments of `ruling`
AFTER: constant(uint256) = 4
SAMPLES: constant(uint256) = 5
ROW: constant(uint256) = 6

REFUSED: constant(uint256) = 2**64 - 1
REASON: constant(Bytes[26]) = b"challenges: not the bounds"


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)


@external
@view
def ruling(
    lane: uint256,
    low: int256,
    high: int256,
    before: uint256,
    after: uint256,
    samples: Bytes[MAX_SAMPLES],
    row: Bytes[MAX_ROW],
) -> (bool, int256):
    """
    @notice Whether a lane of the new model is wrong, and what is right.
    @dev    The body of `challenges._sum` between the digests and the bond.
    @param lane Which lane.
    @param low The lowest value that the median or the trimmed mean keeps.
    @param high The highest one.
    @param before The old model's lane, behind 28 bytes of anything.
    @param after The new model's lane, behind 28 bytes of anything.
    @param samples The weights, four bytes for each update.
    @param row The leaf of the rows tree, behind its zero byte.
    """
    return self._ruling(lane, low, high)


@external
@view
def rulings(
    probes: DynArray[Probe, MAX_PROBES], samples: Bytes[MAX_SAMPLES], row: Bytes[MAX_ROW]
) -> DynArray[uint256, MAX_PROBES]:
    """
    @notice Many rulings on one row: the right value plus 2**31, shifted by one, and in the lowest bit
            whether the new model is wrong; REFUSED where the bounds are.
    @param probes The lanes.
    @param samples The weights, four bytes for each update.
    @param row The leaf of the rows tree, behind its zero byte.
    """
    answers: DynArray[uint256, MAX_PROBES] = []
    for probe: Probe in probes:
        success: bool = False
        output: Bytes[100] = b""
        success, output = raw_call(
            self,
            abi_encode(
                probe.lane,
                probe.low,
                probe.high,
                probe.before,
                probe.after,
                samples,
                row,
                method_id=method_id("ruling(uint256,int256,int256,uint256,uint256,bytes,bytes)"),
            ),
            max_outsize=100,
            is_static_call=True,
            revert_on_failure=False,
        )
        if success:
            wrong: uint256 = convert(slice(output, 0, 32), uint256)
            right: int256 = convert(slice(output, 32, 32), int256)
            answers.append(convert(right - aggregation.LEAST, uint256) << 1 | wrong)
        else:
            assert slice(output, 68, 26) == REASON, "aggregation: refused for another reason"
            answers.append(REFUSED)
    return answers


@external
@view
def rounded(numerator: int256, denominator: uint256) -> int256:
    """
    @notice A quotient as the rules round it.
    @param numerator In the scale of the updates.
    @param denominator A positive number.
    """
    return aggregation._rounded(numerator, denominator)


@internal
@view
def _ruling(lane: uint256, low: int256, high: int256) -> (bool, int256):
    """
    @notice Rules on one lane of the new model.
    @param lane Which lane.
    @param low The lowest value that counts, where there are bounds.
    @param high The highest one.
    """
    count: uint256 = leaves._length(SAMPLES) // 4
    parts: uint256 = leaves._content(ROW, count * leaves._size())
    right: int256 = leaves._lane(self._model_lane(BEFORE), 32)
    right += aggregation._step(parts, lane, count, leaves._tail(SAMPLES), low, high)
    right = min(max(right, aggregation.LEAST), aggregation.MOST)
    return leaves._lane(self._model_lane(AFTER), 32) != right, right


@internal
@pure
def _model_lane(place: uint256) -> uint256:
    """
    @notice Where the lane is that ends a word of the arguments.
    @param place Which word.
    """
    return 4 + 32 * place + 28
