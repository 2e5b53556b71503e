"""What a claimed pace is worth: a minority that claims any pace leads a bounded share of the rounds."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol import turns
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.scores import Resources, most_pace

PACE, FACTOR = 100, 2  # samples a second of an honest device; how many medians count
ROUNDS = 600
LARGEST = 2**24 - 1


def lead_share(
    weights: Sequence[int], liars: int, draws: random.Random, *, misses: float = 0.0, claim: int | None = None
) -> float:
    """Return the share of rounds that the first `liars` of equally fast miners lead.

    They claim high paces or any, or always `claim`. `misses`: how often an honest update is not accepted.
    """
    records = {seat: Resources() for seat in range(len(weights))}
    credits = dict.fromkeys(records, turns.JOINING)
    leads = 0
    for _ in range(ROUNDS):
        leader, credits = turns.take_turn(credits, {seat: record.score for seat, record in records.items()})
        leads += leader < liars
        any_pace = draws.choice((LARGEST, PACE, draws.randint(1, 4 * PACE)))
        paces = {}
        for seat in records:
            lie = LARGEST if draws.random() < 0.7 else any_pace
            honest = 0 if draws.random() < misses else PACE
            paces[seat] = honest if seat >= liars else claim or lie
        known = [(paces[seat] or record.rate, weights[seat]) for seat, record in records.items()]
        most = most_pace(known, FACTOR * BASIS_POINTS)
        for seat, record in records.items():
            pace = min(paces[seat], most)
            shown = pace > 0
            records[seat] = record.after(on_time=True, available=shown, accepted=shown, pace=pace)
    return leads / ROUNDS


@pytest.mark.parametrize(
    ("miners", "liars"),
    [(2, 1), (3, 1), (4, 1), (6, 1), (6, 2), (12, 1), (12, 5), (20, 1), (20, 9), (64, 31)],
)
def test_who_claims_any_pace_leads_twice_its_share_at_most(miners: int, liars: int) -> None:
    """The bound is that of a miner twice as fast as the others, and one turn an account for the start."""
    share = FACTOR * liars / (FACTOR * liars + miners - liars)
    assert lead_share([1] * miners, liars, random.Random(miners)) <= share + liars / ROUNDS


@pytest.mark.parametrize("misses", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("miners", "liars"), [(3, 1), (6, 2), (20, 9)])
@pytest.mark.parametrize("is_heavy", [False, True], ids=["equal", "49 of 100"])
def test_where_honest_updates_are_missing_claims_are_worth_no_more(
    miners: int, liars: int, is_heavy: bool, misses: float
) -> None:
    """The bound is what liars get who are twice as fast and say so, in the same rounds."""
    honest = miners - liars
    weights = [49 * 60 // liars] * liars + [51 * 60 // honest] * honest if is_heavy else [1] * miners
    honest_share = lead_share(weights, liars, random.Random(1), misses=misses, claim=FACTOR * PACE)
    for seed in range(2, 4):
        share = lead_share(weights, liars, random.Random(seed), misses=misses)
        assert share <= honest_share + 0.03 + liars / ROUNDS


paces = st.integers(1, LARGEST)


@given(st.lists(st.tuples(paces, st.integers(1, 100)), min_size=1, max_size=20), st.data())
def test_less_than_half_of_the_weight_does_not_move_the_median_beyond_the_others(
    honest: list[tuple[int, int]], data: st.DataObject
) -> None:
    behind = sum(weight for _, weight in honest)
    liars = data.draw(st.lists(st.tuples(paces, st.integers(1, 30)), max_size=10))
    while sum(weight for _, weight in liars) >= behind:
        liars.pop()
    most = most_pace([*honest, *liars], BASIS_POINTS)
    assert min(pace for pace, _ in honest) <= most <= max(pace for pace, _ in honest)


def test_nobody_has_no_median() -> None:
    assert most_pace([], 20_000) == 0
    assert most_pace([(7, 1)], 20_000) == 14
