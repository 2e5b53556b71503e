# pragma version 0.4.3
"""
@title terms: what the parties agreed on
@license Apache-2.0
@notice Immutable from deployment on. The constructor refuses terms under which
        a round could not be carried to its end or arithmetic could overflow.
"""

from interfaces import IFederation


MAX_UPDATES: constant(uint256) = 1024
MAX_SECONDS: constant(uint256) = 2**30
BASIS: constant(uint256) = 10_000
MAX_SHOWN: constant(uint256) = 120_704  # bytes of a challenge that depend on the terms; docs/protocol.md derives it

TERMS: immutable(IFederation.Terms)


@deploy
def __init__(terms: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms What the parties agreed on.
    """
    self._check_numbers(terms)
    self._check_round(terms)
    self._check_money(terms)
    TERMS = terms


@internal
@pure
def _check_numbers(terms: IFederation.Terms):
    """
    @notice Lanes, leaves and scales for which 64-bit aggregation is exact.
    @param terms What the parties agreed on.
    """
    assert terms.parameters != 0, "terms: no parameters"
    assert terms.parameters < 2**40, "terms: too many parameters"
    assert terms.scale_bits < 32, "terms: scale too fine"
    assert terms.lane_bits == 8 or terms.lane_bits == 16 or terms.lane_bits == 32, "terms: lanes of 8, 16 or 32 bits"
    assert terms.lane_bits + terms.shift <= 32, "terms: shift too large"
    assert terms.leaf_lanes != 0 and terms.leaf_lanes <= 1024, "terms: leaf size"
    assert (terms.leaf_lanes * terms.lane_bits) % 256 == 0, "terms: leaf not of whole words"
    assert terms.max_updates <= MAX_UPDATES, "terms: too many updates"
    leaf: uint256 = terms.leaf_lanes * terms.lane_bits // 8
    shown: uint256 = terms.max_updates * (leaf + 4) + 8 * terms.leaf_lanes
    assert shown <= MAX_SHOWN, "terms: a challenge would not fit"
    assert terms.rule <= 2, "terms: unknown rule"
    assert terms.trim < 5_000, "terms: trim too large"


@internal
@pure
def _check_round(terms: IFederation.Terms):
    """
    @notice Sizes and durations under which every phase can end.
    @param terms What the parties agreed on.
    """
    assert terms.engine <= 3, "terms: unknown engine"
    assert terms.mode <= 2, "terms: unknown mode"
    assert terms.committee_size != 0 and terms.committee_size <= 64, "terms: committee size"
    assert terms.pow_target != 0 and terms.pow_seconds != 0, "terms: proof of work"
    assert terms.pow_seconds <= MAX_SECONDS, "terms: proof of work"
    assert terms.min_updates != 0, "terms: no updates"
    assert terms.min_updates <= terms.max_updates, "terms: too few updates allowed"
    assert terms.max_samples != 0, "terms: no samples"
    assert terms.max_samples < 2**24, "terms: too many samples"
    assert terms.max_samples * terms.max_updates < 2**31, "terms: too many samples"
    assert terms.time_factor >= BASIS, "terms: time factor below one"
    for seconds: uint256 in [
        terms.commit_seconds,
        terms.reveal_seconds,
        terms.vote_seconds,
        terms.unveil_seconds,
        terms.elect_seconds,
        terms.propose_seconds,
        terms.attest_seconds,
        terms.answer_seconds,
    ]:
        assert seconds != 0 and seconds <= MAX_SECONDS, "terms: phase length"
    assert terms.grace <= MAX_SECONDS, "terms: phase length"
    assert terms.challenge_seconds <= terms.attest_seconds, "terms: window longer than its phase"


@internal
@pure
def _check_money(terms: IFederation.Terms):
    """
    @notice Stakes and shares that add up.
    @param terms What the parties agreed on.
    """
    assert terms.min_stake != 0, "terms: no stake"
    assert terms.min_stake < 2**128 and terms.reward < 2**128, "terms: amount too large"
    assert terms.challenge_bond < 2**128, "terms: amount too large"
    assert terms.vote_penalty <= terms.min_stake, "terms: penalty above stake"
    assert terms.leader_penalty <= terms.min_stake, "terms: penalty above stake"
    assert terms.exit_rounds < 2**16, "terms: exit too late"
    assert terms.device_share <= BASIS and terms.miner_share <= BASIS, "terms: shares above one"
    assert terms.device_share + terms.miner_share <= BASIS, "terms: shares above one"
