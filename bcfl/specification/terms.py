"""Refuse terms under which a round could not be carried to its end, or a guarantee would be void."""

from __future__ import annotations

from typing import Final

from bcfl.protocol.docket import longest_round
from bcfl.protocol.limits import BASIS_POINTS, MAX_LEAF_LANES, MAX_SHOWN, MAX_UPDATES, shown_bytes
from bcfl.protocol.types import Engine, Mode, Rule, Terms
from bcfl.specification.call import require, unsigned

MAX_SECONDS: Final = 2**22
MAX_BLOCKS: Final = 64


def check(terms: Terms) -> None:
    """Insist on terms that can be kept."""
    _check_numbers(terms)
    _check_round(terms)
    _check_times(terms)
    _check_money(terms)


def _check_numbers(terms: Terms) -> None:
    """Insist on lanes, leaves and scales for which 64-bit aggregation is exact."""
    require(terms.parameters != 0, "terms: no parameters")
    require(terms.parameters < 2**40, "terms: too many parameters")
    require(terms.scale_bits < 32, "terms: scale too fine")
    require(terms.lane_bits in (8, 16, 32), "terms: lanes of 8, 16 or 32 bits")
    require(unsigned(terms.lane_bits + terms.shift) <= 32, "terms: shift too large")
    require(0 < terms.leaf_lanes <= MAX_LEAF_LANES, "terms: leaf size")
    require(terms.leaf_lanes * terms.lane_bits % 256 == 0, "terms: leaf not of whole words")
    require(terms.max_updates <= MAX_UPDATES, "terms: too many updates")
    shown = shown_bytes(terms.max_updates, terms.leaf_lanes, terms.lane_bits)
    require(shown <= MAX_SHOWN, "terms: a challenge would not fit")
    require(terms.rule <= max(Rule), "terms: unknown rule")
    require(terms.trim < BASIS_POINTS // 2, "terms: trim too large")


def _check_round(terms: Terms) -> None:
    """Insist on sizes under which a round can come to something."""
    require(terms.engine <= max(Engine), "terms: unknown engine")
    require(terms.mode <= max(Mode), "terms: unknown mode")
    require(0 < terms.committee_size <= 64, "terms: committee size")
    require(terms.pow_target != 0 and terms.pow_seconds != 0, "terms: proof of work")
    require(terms.pow_seconds <= MAX_SECONDS, "terms: proof of work")
    require(terms.min_updates != 0, "terms: no updates")
    require(terms.min_updates <= terms.max_updates, "terms: too few updates allowed")
    # A few places that are refused must not void a round.
    has_room = 2 * terms.min_updates <= terms.max_updates + 1 or terms.min_updates == terms.max_updates
    require(has_room, "terms: too few updates allowed")
    require(terms.max_samples != 0, "terms: no samples")
    require(terms.max_samples < 2**24, "terms: too many samples")
    # Weights are samples times the square of a level, 16 times as many at most: they fit 32 bits in sum.
    require(terms.max_samples * terms.max_updates < 2**28, "terms: too many samples")
    require(terms.time_factor >= BASIS_POINTS, "terms: time factor below one")
    require(terms.rate_factor >= BASIS_POINTS, "terms: rate factor below one")
    require(terms.rate_factor < 2**32, "terms: rate factor too large")


def _check_times(terms: Terms) -> None:
    """Insist on durations under which every phase can end."""
    for seconds in (
        terms.commit_seconds,
        terms.reveal_seconds,
        terms.vote_seconds,
        terms.unveil_seconds,
        terms.tally_seconds,
        terms.elect_seconds,
        terms.propose_seconds,
        terms.attest_seconds,
        terms.answer_seconds,
    ):
        require(0 < seconds <= MAX_SECONDS, "terms: phase length")
    require(terms.grace <= terms.commit_seconds // 2, "terms: grace too long")
    require(terms.min_blocks <= MAX_BLOCKS, "terms: too many blocks")
    window = terms.challenge_seconds
    if window != 0:
        # A watcher does what the leader does, and is taken in; all can attest within the window.
        require(window >= 4 and window >= 2 * terms.propose_seconds, "terms: window too short")
        require(window <= terms.attest_seconds, "terms: window longer than its phase")
        # An answer is a tree that was made in the time to propose.
        is_shown = terms.answer_seconds >= terms.propose_seconds and 4 * terms.answer_seconds >= window
        require(is_shown, "terms: time to answer too short")
    longest = longest_round(terms)
    require(0 < terms.exit_rounds < 2**16, "terms: exit rounds")
    require(terms.exit_seconds >= longest, "terms: exit before the last round is judged")
    require(terms.exit_seconds < 2**31, "terms: exit too late")
    require(terms.absence_seconds >= 3 * longest, "terms: suspended within three rounds")
    require(terms.absence_seconds < 2**29, "terms: never suspended")


def _check_money(terms: Terms) -> None:
    """Insist on stakes, prices and shares under which a guarantee is worth something."""
    require(terms.min_stake != 0, "terms: no stake")
    require(terms.min_stake < 2**96, "terms: amount too large")
    require(terms.min_stake >= terms.reward, "terms: stake below the reward")
    has_shares = terms.device_share <= BASIS_POINTS and terms.miner_share <= BASIS_POINTS
    require(has_shares, "terms: shares above one")
    # A lead earns something.
    require(terms.device_share + terms.miner_share <= 9_500, "terms: nothing left for the leader")
    require(50 <= terms.absence_penalty <= 500, "terms: price of absence")
    # To choose late costs more than it earns, and half of a stake is left to be slashed.
    deters = unsigned(terms.vote_penalty * 4 * BASIS_POINTS) >= terms.reward * terms.miner_share
    require(deters, "terms: penalty below what it deters")
    is_below = terms.vote_penalty <= terms.min_stake and terms.leader_penalty <= terms.min_stake
    require(is_below, "terms: penalty above stake")
    paid = (terms.vote_penalty + terms.leader_penalty) * BASIS_POINTS
    paid += 3 * terms.absence_penalty * terms.min_stake
    require(2 * paid <= terms.min_stake * BASIS_POINTS, "terms: penalties above half of the stake")
    require(1_000 <= terms.attest_slash <= BASIS_POINTS, "terms: slash of attesters")
    bond = terms.challenge_bond
    if terms.challenge_seconds == 0:
        require(bond == 0, "terms: bond without challenges")
    else:
        is_fit = unsigned(bond * 50) >= terms.min_stake and bond * 8 <= terms.min_stake
        require(is_fit, "terms: bond out of proportion")
