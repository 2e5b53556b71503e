# pragma version 0.4.3
"""
@title terms: what the parties agreed on
@license Apache-2.0
@notice Immutable from deployment on. The constructor refuses terms under which
        a round could not be carried to its end, arithmetic could overflow, or a guarantee would be void.
        No challenge window, and then no bond either, means no challenges.
"""

from interfaces import IFederation
from modules import constants


MAX_SECONDS: constant(uint256) = 2**22
MAX_SHOWN: constant(uint256) = 120_288  # bytes of a challenge that depend on the terms; docs/protocol.md derives it

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
    assert terms.max_updates <= constants.MAX_UPDATES, "terms: too many updates"
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
    # A few places that are refused must not void a round.
    room: bool = 2 * terms.min_updates <= terms.max_updates + 1 or terms.min_updates == terms.max_updates
    assert room, "terms: too few updates allowed"
    assert terms.max_samples != 0, "terms: no samples"
    assert terms.max_samples < 2**24, "terms: too many samples"
    # Weights are samples times the square of a level, 16 times as many at most: they fit 32 bits in sum.
    assert terms.max_samples * terms.max_updates < 2**28, "terms: too many samples"
    assert terms.time_factor >= constants.BASIS, "terms: time factor below one"
    assert terms.rate_factor >= constants.BASIS, "terms: rate factor below one"
    assert terms.rate_factor < 2**32, "terms: rate factor too large"
    for seconds: uint256 in [
        terms.commit_seconds,
        terms.reveal_seconds,
        terms.vote_seconds,
        terms.unveil_seconds,
        terms.tally_seconds,
        terms.elect_seconds,
        terms.propose_seconds,
        terms.attest_seconds,
        terms.answer_seconds,
    ]:
        assert seconds != 0 and seconds <= MAX_SECONDS, "terms: phase length"
    assert terms.grace <= terms.commit_seconds // 2, "terms: grace too long"
    assert terms.min_blocks <= 64, "terms: too many blocks"
    window: uint256 = terms.challenge_seconds
    if window != 0:
        # A watcher does what the leader does, and is taken in; all can attest within the window.
        assert window >= 4 and window >= 2 * terms.propose_seconds, "terms: window too short"
        assert window <= terms.attest_seconds, "terms: window longer than its phase"
        # An answer is a tree that was made in the time to propose.
        shown: bool = terms.answer_seconds >= terms.propose_seconds and 4 * terms.answer_seconds >= window
        assert shown, "terms: time to answer too short"
    longest: uint256 = self._longest(terms)
    assert terms.exit_rounds != 0 and terms.exit_rounds < 2**16, "terms: exit rounds"
    assert terms.exit_seconds >= longest, "terms: exit before the last round is judged"
    assert terms.exit_seconds < 2**31, "terms: exit too late"
    assert terms.absence_seconds >= 3 * longest, "terms: suspended within three rounds"
    assert terms.absence_seconds < 2**29, "terms: never suspended"


@internal
@pure
def _longest(terms: IFederation.Terms) -> uint256:
    """
    @notice The seconds of a round with one turn in which every phase has its full length, and a dispute as well.
    @param terms What the parties agreed on.
    """
    phases: uint256 = terms.commit_seconds + terms.reveal_seconds + terms.vote_seconds + terms.unveil_seconds
    phases += terms.tally_seconds + terms.elect_seconds + terms.propose_seconds
    last: uint256 = (terms.parameters - 1) // terms.leaf_lanes
    answers: uint256 = 2
    for _: uint256 in range(5):
        last >>= 8
        if last == 0:
            break
        answers += 1
    judged: uint256 = 0
    if terms.challenge_seconds != 0:
        judged = terms.challenge_seconds + max(
            (answers + 1) * terms.answer_seconds, 3 * (terms.challenge_seconds // 4)
        )
    return phases + max(terms.attest_seconds, judged)


@internal
@pure
def _check_money(terms: IFederation.Terms):
    """
    @notice Stakes, prices and shares under which a guarantee is worth something.
    @param terms What the parties agreed on.
    """
    assert terms.min_stake != 0, "terms: no stake"
    assert terms.min_stake < 2**96, "terms: amount too large"
    assert terms.min_stake >= terms.reward, "terms: stake below the reward"
    assert terms.device_share <= constants.BASIS and terms.miner_share <= constants.BASIS, "terms: shares above one"
    # A lead earns something.
    assert terms.device_share + terms.miner_share <= 9_500, "terms: nothing left for the leader"
    assert 50 <= terms.absence_penalty and terms.absence_penalty <= 500, "terms: price of absence"
    # To choose late costs more than it earns, and half of a stake is left to be slashed.
    late: bool = terms.vote_penalty * 4 * constants.BASIS >= terms.reward * terms.miner_share
    assert late, "terms: penalty below what it deters"
    assert terms.vote_penalty <= terms.min_stake and terms.leader_penalty <= terms.min_stake, "terms: penalty above stake"
    paid: uint256 = (terms.vote_penalty + terms.leader_penalty) * constants.BASIS
    paid += 3 * terms.absence_penalty * terms.min_stake
    assert 2 * paid <= terms.min_stake * constants.BASIS, "terms: penalties above half of the stake"
    assert 1_000 <= terms.attest_slash and terms.attest_slash <= constants.BASIS, "terms: slash of attesters"
    bond: uint256 = terms.challenge_bond
    if terms.challenge_seconds == 0:
        assert bond == 0, "terms: bond without challenges"
    else:
        assert bond * 50 >= terms.min_stake and bond * 8 <= terms.min_stake, "terms: bond out of proportion"
