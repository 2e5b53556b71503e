"""What a claimed pace is worth: a minority that claims any pace leads a bounded share of the rounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol import turns
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.scores import Resources, most_pace

PACE, FACTOR = 100, 2  # samples a second of an honest device; how many medians count
ROUNDS = 600
LARGEST = 2**24 - 1


def lead_share(miners: int, liars: int, draws: random.Random) -> float:
    """Return the share of rounds that the first `liars` of equal miners lead, claiming high paces or any."""
    records = {seat: Resources() for seat in range(miners)}
    credits = dict.fromkeys(records, turns.JOINING)
    leads = 0
    for _ in range(ROUNDS):
        leader, credits = turns.take_turn(credits, {seat: record.score for seat, record in records.items()})
        leads += leader < liars
        any_pace = draws.choice((LARGEST, PACE, draws.randint(1, 4 * PACE)))
        claims = {str(seat): LARGEST if draws.random() < 0.7 else any_pace for seat in range(liars)}
        paces = claims | {str(seat): PACE for seat in range(liars, miners)}
        most = most_pace(paces, dict.fromkeys(paces, 1), FACTOR * BASIS_POINTS)
        for seat, record in records.items():
            pace = min(paces[str(seat)], most)
            records[seat] = record.after(on_time=True, available=True, accepted=True, pace=pace)
    return leads / ROUNDS


@pytest.mark.parametrize(
    ("miners", "liars"),
    [(2, 1), (3, 1), (4, 1), (6, 1), (6, 2), (12, 1), (12, 5), (20, 1), (20, 9), (64, 31)],
)
def test_who_claims_any_pace_leads_twice_its_share_at_most(miners: int, liars: int) -> None:
    """The bound is that of a miner twice as fast as the others, and one turn an account for the start."""
    share = FACTOR * liars / (FACTOR * liars + miners - liars)
    assert lead_share(miners, liars, random.Random(miners)) <= share + liars / ROUNDS


paces = st.integers(1, LARGEST)


@given(st.lists(st.tuples(paces, st.integers(1, 100)), min_size=1, max_size=20), st.data())
def test_less_than_half_of_the_weight_does_not_move_the_median_beyond_the_others(
    honest: list[tuple[int, int]], data: st.DataObject
) -> None:
    behind = sum(weight for _, weight in honest)
    liars = data.draw(st.lists(st.tuples(paces, st.integers(1, 30)), max_size=10))
    while sum(weight for _, weight in liars) >= behind:
        liars.pop()
    voters = {str(i): voter for i, voter in enumerate(honest + liars)}
    most = most_pace(
        {account: pace for account, (pace, _) in voters.items()},
        {account: weight for account, (_, weight) in voters.items()},
        BASIS_POINTS,
    )
    assert min(pace for pace, _ in honest) <= most <= max(pace for pace, _ in honest)


def test_who_shows_no_pace_does_not_count() -> None:
    assert most_pace({"a": 0, "b": 0}, {"a": 5, "b": 1}, 20_000) == 0
    assert most_pace({"a": 0, "b": 7}, {"a": 5, "b": 1}, 20_000) == 14
